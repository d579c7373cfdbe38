import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hashOf, nameFrom, nameInHash, titleOf } from '../names.js'

test('a name survives the address, whatever it is', () => {
  for (const name of ['text/welcome', 'a b', 'ä/ö?#%', '100%', 'kind/with/more']) {
    assert.equal(nameInHash(hashOf(name)), name)
  }
  assert.equal(hashOf('text/welcome'), '#text/welcome')
})

test('an address that cannot be read names no document', () => {
  assert.equal(nameInHash('#%E0%A4%A'), '')
  assert.equal(nameInHash(''), '')
})

test('a title becomes a name', () => {
  assert.equal(nameFrom('Access policy (2027)', 'text'), 'text/access-policy-2027')
  assert.equal(nameFrom('Überprüfung', 'text'), 'text/überprüfung')
  assert.equal(nameFrom('../../etc', 'text'), 'text/etc')
  assert.equal(nameFrom(' ?! ', 'text'), '')
})

test('a name becomes a title', () => {
  assert.equal(titleOf('text/retention-policy'), 'Retention policy')
  assert.equal(titleOf('room_1'), 'Room 1')
  assert.equal(titleOf('---'), '---')
})
