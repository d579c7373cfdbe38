import assert from 'node:assert/strict'
import { test } from 'node:test'
import { actionsFor, describeMore, describeState, stagesOf } from '../request-state.js'

const pool = { weights: { sam: 1, sue: 1, rita: 1 }, excluded: ['rita'], applies: true }
const requirement = { id: 'r', result: 'unsatisfied', got: 0, needed: 1, approved_by: [], rejected_by: [] }
const pending = {
  state: 'pending',
  type: 'schema_change',
  content_hash: 'a'.repeat(64),
  requester: 'rita',
  stages: [{ id: 's', title: 'A steward' }, { id: 't' }],
  runs: {
    s: { state: 'active', pools: { r: pool }, result: { requirements: { r: requirement } } },
    t: { state: 'blocked' },
  },
  decisions: {},
}
const may = { mayWrite: true, isReviewOpen: false }
const labels = (/** @type {any} */ record, /** @type {string} */ me, more = {}) =>
  actionsFor(record, me, { ...may, ...more }).map(({ label }) => label)

test('a draft can be submitted by whoever may write in it', () => {
  assert.deepEqual(labels(null, 'rita'), ['Submit'])
  assert.deepEqual(labels(null, 'rita', { mayWrite: false }), [])
})

test('who is asked may decide, on the content that is shown', () => {
  assert.deepEqual(labels(pending, 'sam'), ['Approve', 'Ask for changes', 'Reject'])
  assert.equal(actionsFor(pending, 'sam', may)[0].values.content_hash, pending.content_hash)
  assert.deepEqual(labels(pending, 'rita'), ['Withdraw'])
  assert.deepEqual(labels(pending, 'max'), [])
})

test('who has decided is not asked again', () => {
  const decision = { actor: 'sam', principal: 'sam', verdict: 'approve', status: 'counted', stage: 's' }
  const decided = { ...pending, decisions: { d: decision } }
  assert.deepEqual(labels(decided, 'sam'), [])
  assert.deepEqual(stagesOf(decided)[0].lines, ['0 of 1 approvals', 'Waits for sue'])
  assert.deepEqual(labels({ ...decided, decisions: { d: { ...decision, status: 'dismissed_stale' } } }, 'sam').length, 3)
})

test('each state has words, and every unknown one its own', () => {
  assert.equal(describeState(null).words, 'A draft: nobody was asked yet')
  assert.deepEqual(describeState(pending), { words: 'Waiting for decisions', tone: 'wait' })
  assert.equal(describeState({ ...pending, state: 'novel' }).words, 'novel')
  assert.equal(describeMore({ ...pending, block: 'quorum_impossible' }), 'Too few people are left who may decide.')
  assert.equal(describeMore({ ...pending, state: 'rejected', resolved_by: 'sam' }), 'By sam.')
})

test('what follows a decision is offered', () => {
  assert.deepEqual(labels({ ...pending, state: 'approved' }, 'rita'), ['Begin to do it'])
  assert.deepEqual(labels({ ...pending, state: 'executing' }, 'rita'), ['It is done', 'It failed'])
  assert.deepEqual(labels({ ...pending, state: 'changes_requested' }, 'rita'), ['Submit again', 'Withdraw'])
  assert.deepEqual(labels({ ...pending, state: 'overridden' }, 'aud', { isReviewOpen: true }), ['Close the review'])
  assert.deepEqual(labels({ ...pending, state: 'fulfilled' }, 'rita'), [])
})

test('stages say who is asked, until when, and how far they are', () => {
  const [first, second] = stagesOf(pending)
  assert.deepEqual(first, { title: 'A steward', state: 'active', lines: ['0 of 1 approvals', 'Waits for sam, sue'] })
  assert.deepEqual(second, { title: 't', state: 'blocked', lines: [] })
})
