import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SavedState, readFrame } from '../saved-state.js'

const ADDRESS = [1, 0x64] // "d"
const STEP1 = new Uint8Array([...ADDRESS, 0, 0, 1, 0])
const STEP2 = new Uint8Array([...ADDRESS, 0, 1, 2, 0, 0])
const UPDATE = new Uint8Array([...ADDRESS, 0, 2, 2, 0, 0])
const STORED = new Uint8Array([...ADDRESS, 8, 1])
const REFUSED = new Uint8Array([...ADDRESS, 8, 0])

/** @param {SavedState} saved */
function connect(saved) {
  saved.connecting()
  saved.sent(STEP1)
  saved.received(STEP1)
  saved.sent(STEP2)
}

/** @param {SavedState} saved @param {boolean} isOnline */
function type(saved, isOnline) {
  saved.edited()
  if (isOnline) saved.sent(UPDATE)
}

test('an edit waits until it is answered', () => {
  const saved = new SavedState()
  connect(saved)
  saved.received(STORED)
  assert.equal(saved.waiting, 0)
  type(saved, true)
  type(saved, true)
  assert.equal(saved.waiting, 2)
  saved.received(STORED)
  assert.equal(saved.waiting, 1)
  saved.received(STORED)
  assert.equal(saved.waiting, 0)
})

test('edits made offline wait for the answer to the step 2 that holds them', () => {
  const saved = new SavedState()
  connect(saved)
  saved.received(STORED)
  for (let i = 0; i < 3; i++) type(saved, false)
  assert.equal(saved.waiting, 3)
  connect(saved)
  assert.equal(saved.waiting, 3)
  saved.received(STORED)
  assert.equal(saved.waiting, 0)
})

test('answers to updates from a queue do not count for edits that may have got lost before them', () => {
  const saved = new SavedState()
  connect(saved)
  saved.received(STORED)
  type(saved, true) // on its way when the server is killed
  saved.connecting()
  saved.sent(STEP1)
  saved.edited()
  saved.sent(UPDATE) // the second edit, from the provider's queue
  saved.received(STORED)
  assert.equal(saved.waiting, 2)
  saved.received(STEP1)
  saved.sent(STEP2)
  assert.equal(saved.waiting, 2)
  saved.received(STORED)
  assert.equal(saved.waiting, 0)
})

test('what was typed after the step 2 waits for its own answer', () => {
  const saved = new SavedState()
  saved.edited()
  connect(saved)
  type(saved, true)
  saved.received(STORED)
  assert.equal(saved.waiting, 1)
  saved.received(STORED)
  assert.equal(saved.waiting, 0)
})

test('answers of the old socket do not come on the new one', () => {
  const saved = new SavedState()
  connect(saved)
  type(saved, true)
  type(saved, true)
  connect(saved)
  type(saved, true)
  saved.received(STORED) // the new step 2, not the old one
  assert.equal(saved.waiting, 1)
})

test('a step 2 that nobody asked for on this socket proves nothing', () => {
  const saved = new SavedState()
  saved.edited()
  saved.connecting()
  saved.sent(STEP2)
  saved.received(STORED)
  assert.equal(saved.waiting, 1)
})

test('the server may ask again in between', () => {
  const saved = new SavedState()
  connect(saved)
  saved.received(STORED)
  type(saved, true)
  saved.received(STEP1)
  saved.sent(STEP2)
  saved.received(STORED)
  saved.received(STORED)
  assert.equal(saved.waiting, 0)
})

test('a refused edit is counted, and the next one is not', () => {
  const saved = new SavedState()
  connect(saved)
  saved.received(STORED)
  type(saved, true)
  type(saved, true)
  saved.received(REFUSED)
  saved.received(STORED)
  assert.deepEqual([saved.waiting, saved.refused], [0, 1])
})

test('a surplus answer harms nothing', () => {
  const saved = new SavedState()
  connect(saved)
  saved.received(STORED)
  saved.received(STORED)
  type(saved, true)
  assert.equal(saved.waiting, 1)
})

test('frames of other kinds, and pings, are passed by', () => {
  assert.deepEqual(readFrame(new Uint8Array([9])), { kind: -1, detail: 0 })
  assert.deepEqual(readFrame(new Uint8Array([...ADDRESS, 5, 2, 0x68, 0x69])), { kind: 5, detail: 0 })
  assert.deepEqual(readFrame(STORED), { kind: 8, detail: 1 })
})
