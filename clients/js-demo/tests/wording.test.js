import assert from 'node:assert/strict'
import { test } from 'node:test'
import { describe } from '../wording.js'

/**
 * @param {Partial<import('../wording.js').ConnectionState>} state
 */
const said = (state) =>
  describe({ phase: 'online', isLoaded: true, isReadOnly: false, waiting: 0, refused: 0, reason: '', ...state })

test('“Saved” is said of a connected writer with nothing waiting, and of nobody else', () => {
  assert.equal(said({}).label, 'Saved')
  for (const phase of /** @type {const} */ (['opening', 'online', 'offline', 'ended'])) {
    for (const waiting of [0, 1, 7]) {
      for (const refused of [0, 2]) {
        for (const isReadOnly of [false, true]) {
          const isSaved = phase === 'online' && !waiting && !refused && !isReadOnly
          const { tone, label } = said({ phase, waiting, refused, isReadOnly })
          assert.equal(tone === 'saved', isSaved)
          assert.equal(label === 'Saved', isSaved)
        }
      }
    }
  }
})

test('it says how many edits wait, and where they are', () => {
  assert.equal(said({ waiting: 1 }).label, 'Saving… 1 edit waits')
  assert.equal(said({ waiting: 3 }).label, 'Saving… 3 edits wait')
  assert.equal(said({ phase: 'offline', waiting: 1 }).label, 'Offline: 1 edit is kept in this tab')
  assert.equal(said({ phase: 'offline', waiting: 2 }).label, 'Offline: 2 edits are kept in this tab')
})

test('a reader is told so', () => {
  assert.equal(said({ isReadOnly: true }).label, 'Read only')
})

test('each end says what happened and what to do', () => {
  for (const reason of ['deleted', 'permission-denied', 'not-found', 'not-authenticated', 'document-too-large']) {
    const { label, title, advice } = said({ phase: 'ended', reason })
    assert.ok(label && title && advice)
    assert.notEqual(label, 'Closed')
  }
  assert.match(said({ phase: 'ended', reason: 'odd' }).advice, /odd/)
})

test('an end says which edits are in this tab only', () => {
  assert.match(said({ phase: 'ended', reason: 'deleted', waiting: 2 }).advice, /last 2 edits of yours are in this tab only/)
})

test('refused edits are told, not called saved', () => {
  assert.match(said({ refused: 1 }).title, /1 edit was not accepted/)
})
