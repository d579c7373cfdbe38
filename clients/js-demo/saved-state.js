/**
 * Whether everything typed in this tab is durably stored by the server.
 *
 * Theory
 * ------
 * This server answers every update and every step 2 with one SyncStatus, in order, once it is committed to disk.
 * The provider counts those answers in `unsyncedChanges`, but that number does not survive a reconnect: it starts
 * again at 1 while the edits made offline are sent from a queue, so the first answer of many makes it 0.
 *
 * So the frames themselves are read here, as they pass through the socket:
 *
 * - Each edit made in this tab has a number. `saved` is the number up to which all of them are stored.
 * - A step 2 that answers the server's question holds every edit made so far that the server lacks. What the
 *   server has already is committed before this step 2 is answered. So its answer covers all edits up to now.
 * - Before that step 2, an update on the same socket proves nothing: an earlier edit may have got lost.
 * - After it, each update holds the next edit, so its answer covers all edits up to that one.
 * - A new socket begins anew: what was not answered on the old one counts as not stored.
 */

import { createDecoder, readVarString, readVarUint } from 'lib0/decoding'

const SYNC = 0
const SYNC_STATUS = 8
const STEP1 = 0
const STEP2 = 1

/**
 * @typedef {object} Frame
 * @property {number} kind
 * @property {number} detail  the kind of sync message, or the value of a status
 */

export class SavedState {
  /** How many edits were made in this tab. */
  edits = 0
  /** Up to which of them all were answered by the server. */
  saved = 0
  /** How many of the answers were a refusal. */
  refused = 0

  /** @type {number[]} for each frame that waits for its answer, up to which edit that answer counts */
  #unanswered = []
  #questions = 0
  #isCaughtUp = false

  /** How many edits wait to be stored. */
  get waiting() {
    return this.edits - this.saved
  }

  /** Note one edit made in this tab, before it is sent. */
  edited() {
    this.edits += 1
  }

  /** Note that a new socket takes the place of the one before. */
  connecting() {
    this.#unanswered = []
    this.#questions = 0
    this.#isCaughtUp = false
  }

  /** @param {Uint8Array} bytes a frame that goes to the server */
  sent(bytes) {
    const { kind, detail } = readFrame(bytes)
    if (kind !== SYNC || detail === STEP1) return
    if (detail === STEP2 && this.#questions > 0) {
      this.#questions -= 1
      this.#isCaughtUp = true
    }
    this.#unanswered.push(this.#isCaughtUp ? this.edits : 0)
  }

  /** @param {Uint8Array} bytes a frame that came from the server */
  received(bytes) {
    const { kind, detail } = readFrame(bytes)
    if (kind === SYNC && detail === STEP1) this.#questions += 1
    if (kind !== SYNC_STATUS) return
    const answered = Math.max(this.saved, this.#unanswered.shift() ?? 0)
    if (detail === 0) this.refused += answered - this.saved
    this.saved = answered
  }
}

/**
 * @param {Uint8Array} bytes
 * @returns {Frame}
 */
export function readFrame(bytes) {
  if (bytes.length < 3) return { kind: -1, detail: 0 } // a ping or pong has no address
  const decoder = createDecoder(bytes)
  readVarString(decoder)
  const kind = readVarUint(decoder)
  const hasDetail = kind === SYNC || kind === SYNC_STATUS
  return { kind, detail: hasDetail ? readVarUint(decoder) : 0 }
}
