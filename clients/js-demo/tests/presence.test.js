import assert from 'node:assert/strict'
import { test } from 'node:test'
import { COLORS, initials, peopleHere, shownName, tintOf } from '../presence.js'

test('initials are of the first and the last word', () => {
  assert.equal(initials('Amara Okafor'), 'AO')
  assert.equal(initials('jonas van der weber'), 'JW')
  assert.equal(initials('steward-1'), 'S1')
  assert.equal(initials('Ævar'), 'Æ')
  assert.equal(initials('😀 smile'), '😀S')
  assert.equal(initials(''), '?')
})

test('a name is text of bounded length, without what could disguise it', () => {
  assert.equal(shownName(7), 'Somebody')
  assert.equal(shownName('  '), 'Somebody')
  assert.equal(shownName('a\u202eb\nc'), 'a b c')
  assert.equal(shownName('x'.repeat(1000)).length, 60)
})

test('the people of the demo have different colours', () => {
  const tints = ['amara', 'jonas', 'mei', 'ravi'].map(tintOf)
  assert.equal(new Set(tints).size, 4)
  assert.ok(tints.every((tint) => tint >= 0 && tint < COLORS.length))
})

test('a person with two windows is one person, and you come first', () => {
  const states = new Map([
    [1, { user: { id: 'amara', name: 'Amara' } }],
    [2, { user: { id: 'jonas', name: 'Jonas' } }],
    [3, { user: { id: 'amara', name: 'Amara' } }],
    [4, {}],
    [5, { user: 'nonsense' }],
    [6, null],
  ])
  const people = peopleHere(states, 2)
  assert.deepEqual(people.map(({ id, isYou, windows }) => [id, isYou, windows]), [
    ['jonas', true, 1],
    ['amara', false, 2],
  ])
})
