/** What the page says about the connection and about what is saved: one place for all its words. */

/**
 * @typedef {object} ConnectionState
 * @property {'opening' | 'online' | 'offline' | 'ended'} phase
 * @property {boolean} isLoaded  whether the content has arrived at least once
 * @property {boolean} isReadOnly
 * @property {number} waiting  edits made in this tab that are not durable yet
 * @property {number} refused  edits that the server did not accept
 * @property {string} reason   why it ended, one of the server's codes
 *
 * @typedef {object} Wording
 * @property {'saved' | 'saving' | 'offline' | 'reading' | 'ended' | 'opening'} tone
 * @property {string} label    a few words, always visible
 * @property {string} title    what it means; empty when there is nothing to do
 * @property {string} advice   what to do
 *
 * @typedef {object} Ending
 * @property {string} label
 * @property {string} title
 * @property {string} advice
 * @property {'sign-in' | 'restore' | null} remedy  what a person may be able to do about it here
 */

/** @type {Record<string, Ending>} */
const ENDINGS = {
  deleted: {
    label: 'Deleted',
    title: 'This document was deleted.',
    advice: 'An owner can restore it. Until then you can still read and copy the text below.',
    remedy: 'restore',
  },
  'permission-denied': {
    label: 'No access',
    title: 'You may not open this document.',
    advice: 'Ask an owner for access, or choose another document.',
    remedy: null,
  },
  'not-found': {
    label: 'Not found',
    title: 'There is no document of this name.',
    advice: 'Check the address, or choose a document from the list.',
    remedy: null,
  },
  'not-authenticated': {
    label: 'Signed out',
    title: 'Your sign-in has ended.',
    advice: 'Sign in again to go on. Keep this tab open: the text below is still here.',
    remedy: 'sign-in',
  },
  'document-too-large': {
    label: 'Document is full',
    title: 'This document has reached its size limit and takes no more.',
    advice: 'Copy what you wrote last, shorten the document, or go on in a new one.',
    remedy: null,
  },
}

/**
 * @param {string} reason one of the server's codes
 * @returns {Ending}
 */
export function ending(reason) {
  return ENDINGS[reason] ?? {
    label: 'Closed',
    title: 'The server closed this document.',
    advice: `Open it again; if that does not help, tell an owner the reason: ${reason || 'none given'}.`,
    remedy: null,
  }
}

/**
 * @param {number} count
 * @param {string} one
 * @param {string} many
 */
export function counted(count, one, many) {
  return `${count} ${count === 1 ? one : many}`
}

/**
 * @param {ConnectionState} state
 * @returns {Wording}
 */
export function describe(state) {
  const { phase, waiting } = state
  if (phase === 'ended') return describeEnd(state)
  if (phase === 'offline') return describeOffline(state)
  if (phase === 'opening') {
    return { tone: 'opening', label: 'Opening…', title: '', advice: '' }
  }
  if (state.refused > 0) return describeRefusal(state)
  if (waiting > 0) {
    const label = `Saving… ${counted(waiting, 'edit waits', 'edits wait')}`
    return { tone: 'saving', label, title: '', advice: '' }
  }
  if (state.isReadOnly) {
    const title = 'You may read this document, not change it.'
    return { tone: 'reading', label: 'Read only', title, advice: 'You see edits of others as they are made.' }
  }
  return { tone: 'saved', label: 'Saved', title: '', advice: '' }
}

/** @param {ConnectionState} state @returns {Wording} */
function describeEnd(state) {
  const { label, title, advice } = ending(state.reason)
  if (state.waiting === 0) return { tone: 'ended', label, title, advice }
  const lost = counted(state.waiting, 'edit of yours is', 'edits of yours are')
  return { tone: 'ended', label, title, advice: `${advice} The last ${lost} in this tab only.` }
}

/** @param {ConnectionState} state @returns {Wording} */
function describeOffline({ waiting, isLoaded, isReadOnly }) {
  const title = 'There is no connection to the server.'
  const back = 'The page connects by itself as soon as the server is back.'
  if (!isLoaded) return { tone: 'offline', label: 'Not connected', title, advice: back }
  if (isReadOnly) return { tone: 'offline', label: 'Offline: you may be missing edits', title, advice: back }
  const advice = 'Go on writing: your edits are sent by themselves as soon as it is back. Keep this tab open.'
  const kept = counted(waiting, 'edit is', 'edits are')
  const label = waiting > 0 ? `Offline: ${kept} kept in this tab` : 'Offline: all your edits are saved'
  return { tone: 'offline', label, title, advice }
}

/** @param {ConnectionState} state @returns {Wording} */
function describeRefusal({ refused, waiting, isReadOnly }) {
  const were = counted(refused, 'edit was', 'edits were')
  const title = `${were} not accepted, and nobody else sees ${refused === 1 ? 'it' : 'them'}.`
  const advice = isReadOnly
    ? 'You may only read this document now. Copy what you want to keep, then reload the page.'
    : 'The server said why. Reload the page to see what everybody sees.'
  const rest = waiting > 0 ? `, ${counted(waiting, 'waits', 'wait')}` : ''
  return { tone: 'offline', label: `${were} refused${rest}`, title, advice }
}
