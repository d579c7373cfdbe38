/** What the record of an approval request says, in words, and what somebody may do about it. */

/**
 * @typedef {object} Requirement
 * @property {string} id
 * @property {string} result
 * @property {number} got
 * @property {number} needed
 * @property {string[]} [approved_by]
 * @property {string[]} [rejected_by]
 *
 * @typedef {object} StageRun
 * @property {string} state
 * @property {number} [due_at]
 * @property {Record<string, { weights: Record<string, number>, excluded: string[], applies: boolean }>} [pools]
 * @property {{ requirements: Record<string, Requirement> }} [result]
 *
 * @typedef {object} RequestRecord what the engine keeps
 * @property {string} state
 * @property {string} content_hash
 * @property {string} requester
 * @property {string} type
 * @property {string} [block]
 * @property {string} [resolved_by]
 * @property {number} [deadline_at]
 * @property {string[]} [explanation]
 * @property {{ id: string, title?: string }[]} [stages]
 * @property {Record<string, StageRun>} [runs]
 * @property {Record<string, { actor: string, principal: string, verdict: string, status: string, stage: string }>} [decisions]
 *
 * @typedef {object} Action a button: the command it gives, what else that takes, and whether it must say why
 * @property {string} label
 * @property {string} command
 * @property {Record<string, unknown>} values
 * @property {boolean} [needsReason]
 * @property {'primary' | 'danger' | ''} [style]
 */

/** @type {Record<string, { words: string, tone: 'good' | 'wait' | 'bad' | '' }>} */
const STATES = {
  evaluating: { words: 'The policies are asked', tone: 'wait' },
  pending: { words: 'Waiting for decisions', tone: 'wait' },
  changes_requested: { words: 'Changes are wanted', tone: 'wait' },
  approved: { words: 'Approved', tone: 'good' },
  overridden: { words: 'Overridden in an emergency', tone: 'bad' },
  executing: { words: 'Approved, and being done', tone: 'good' },
  fulfilled: { words: 'Approved and done', tone: 'good' },
  fulfilment_failed: { words: 'Approved, but doing it failed', tone: 'bad' },
  rejected: { words: 'Rejected', tone: 'bad' },
  cancelled: { words: 'Withdrawn', tone: '' },
  expired: { words: 'Expired: nobody decided in time', tone: 'bad' },
  superseded: { words: 'Replaced by a newer request', tone: '' },
  revoked: { words: 'Revoked', tone: 'bad' },
  lapsed: { words: 'Ended, as it was granted for a time', tone: '' },
}

/** @type {Record<string, string>} */
const BLOCKS = {
  quorum_impossible: 'Too few people are left who may decide.',
  escalation_exhausted: 'Everybody was asked, and nobody answered.',
  policy_error: 'A policy could not be evaluated; nothing is approved by itself.',
  no_applicable_rule: 'No rule says who decides.',
  clock_step: 'The clock was moved.',
  requester_disabled: 'Who asked for it is not active any more.',
}

/**
 * @param {RequestRecord | null} record null while it was not submitted
 */
export function describeState(record) {
  if (!record) return { words: 'A draft: nobody was asked yet', tone: '' }
  return STATES[record.state] ?? { words: record.state, tone: '' }
}

/**
 * @param {RequestRecord | null} record
 * @returns {string} what else is to say: why it cannot go on, by whom it was decided, until when it waits
 */
export function describeMore(record) {
  if (!record) return 'Write what you ask for. Submit it when it is whole.'
  if (record.block) return BLOCKS[record.block] ?? record.block
  if (record.resolved_by) return `By ${record.resolved_by}.`
  return record.deadline_at ? `It ends ${dayOf(record.deadline_at)} if nobody decides.` : ''
}

/**
 * @param {RequestRecord} record
 * @returns {{ title: string, state: string, lines: string[] }[]} the stages in their order
 */
export function stagesOf(record) {
  return (record.stages ?? []).map((stage) => {
    const run = record.runs?.[stage.id]
    const due = run?.state === 'active' && run.due_at ? [`Due ${dayOf(run.due_at)}`] : []
    const lines = Object.values(run?.result?.requirements ?? {}).flatMap(requirementLines)
    const wanted = run?.state === 'active' ? waitingFor(record, stage.id) : []
    const waiting = wanted.length ? [`Waits for ${shortList(wanted)}`] : []
    return { title: stage.title || stage.id, state: run?.state ?? '', lines: [...lines, ...waiting, ...due] }
  })
}

/** @param {Requirement} found */
function requirementLines(found) {
  const lines = []
  if (found.approved_by?.length) lines.push(`Approved by ${shortList(found.approved_by)}`)
  if (found.rejected_by?.length) lines.push(`Rejected by ${shortList(found.rejected_by)}`)
  if (found.result === 'unsatisfied') lines.push(`${found.got} of ${found.needed} approvals`)
  return lines
}

/**
 * @param {RequestRecord} record
 * @param {string} stage
 */
function waitingFor(record, stage) {
  const pools = Object.values(record.runs?.[stage]?.pools ?? {}).filter((pool) => pool.applies)
  const eligible = pools.flatMap((pool) => Object.keys(pool.weights).filter((id) => !pool.excluded.includes(id)))
  const voted = Object.values(record.decisions ?? {})
    .filter((decision) => decision.status === 'counted' && decision.stage === stage)
    .map((decision) => decision.principal)
  return [...new Set(eligible)].filter((id) => !voted.includes(id)).sort()
}

/**
 * @param {RequestRecord | null} record
 * @param {string} me
 * @param {{ mayWrite: boolean, isReviewOpen: boolean }} may
 * @returns {Action[]} what to offer; the server decides whether somebody may
 */
export function actionsFor(record, me, { mayWrite, isReviewOpen }) {
  if (!record) return mayWrite ? [{ label: 'Submit', command: 'submit', values: {}, style: 'primary' }] : []
  if (record.state === 'changes_requested') return asksAgain(record, me, mayWrite)
  if (record.state === 'pending') return [...decisions(record, me), ...withdrawal(record, me)]
  if (record.state === 'overridden' && isReviewOpen) {
    return [{ label: 'Close the review', command: 'review_override', values: {}, needsReason: true }]
  }
  if (record.state === 'approved') return [{ label: 'Begin to do it', command: 'execute', values: {} }]
  if (record.state !== 'executing') return []
  return [
    { label: 'It is done', command: 'report', values: { is_done: true }, style: 'primary' },
    { label: 'It failed', command: 'report', values: { is_done: false }, style: 'danger' },
  ]
}

/**
 * @param {RequestRecord} record
 * @param {string} me
 * @param {boolean} mayWrite
 * @returns {Action[]}
 */
function asksAgain(record, me, mayWrite) {
  const submit = { label: 'Submit again', command: 'submit', values: {}, style: /** @type {const} */ ('primary') }
  return [...(mayWrite ? [submit] : []), ...withdrawal(record, me)]
}

/**
 * @param {RequestRecord} record
 * @param {string} me
 * @returns {Action[]}
 */
function decisions(record, me) {
  const isAsked = Object.keys(record.runs ?? {}).some((id) =>
    record.runs?.[id].state === 'active' && waitingFor(record, id).includes(me))
  if (!isAsked) return []
  const seen = { content_hash: record.content_hash }
  return [
    { label: 'Approve', command: 'decide', values: { verdict: 'approve', ...seen }, style: 'primary' },
    { label: 'Ask for changes', command: 'decide', values: { verdict: 'request_changes', ...seen }, needsReason: true },
    { label: 'Reject', command: 'decide', values: { verdict: 'reject', ...seen }, needsReason: true, style: 'danger' },
  ]
}

/**
 * @param {RequestRecord} record
 * @param {string} me
 * @returns {Action[]}
 */
function withdrawal(record, me) {
  return record.requester === me ? [{ label: 'Withdraw', command: 'withdraw', values: {} }] : []
}

/** @param {string[]} names */
function shortList(names) {
  const shown = names.slice(0, 5)
  return names.length > shown.length ? `${shown.join(', ')} and ${names.length - shown.length} more` : shown.join(', ')
}

/** @param {number} seconds since the epoch */
function dayOf(seconds) {
  return new Date(seconds * 1000).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' })
}
