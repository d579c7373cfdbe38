import assert from 'node:assert/strict'
import { test } from 'node:test'
import { claimsOf, isEnding, keepPerson, loadPerson, personFromToken } from '../session.js'

/** @param {object} claims */
const tokenOf = (claims) => `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.x`

/** @param {Record<string, string>} kept */
const storageOf = (kept) => ({
  getItem: (/** @type {string} */ key) => kept[key] ?? null,
  setItem: (/** @type {string} */ key, /** @type {string} */ value) => void (kept[key] = value),
  removeItem: (/** @type {string} */ key) => void delete kept[key],
})

test('a token says who somebody is', () => {
  const token = tokenOf({ sub: 'zoe', name: 'Zoë Ångström', role: 'viewer' })
  assert.deepEqual(personFromToken(token), { id: 'zoe', name: 'Zoë Ångström', role: 'viewer', token, by: 'token' })
  assert.equal(personFromToken(tokenOf({ sub: 'zoe' }))?.name, 'zoe')
})

test('what is no token is refused', () => {
  for (const text of ['', 'abc', 'a.b.c', tokenOf({}), `x.${Buffer.from('null').toString('base64url')}.x`]) {
    assert.equal(personFromToken(text), null)
  }
  assert.equal(claimsOf('a.b.c'), null)
})

test('a token that ends within a minute is ending', () => {
  assert.equal(isEnding(tokenOf({ exp: 1000 }), 930), false)
  assert.equal(isEnding(tokenOf({ exp: 1000 }), 950), true)
  assert.equal(isEnding(tokenOf({}), 950), false)
})

test('the person is kept over a reload, and damage means nobody', () => {
  /** @type {Record<string, string>} */
  const kept = {}
  const storage = storageOf(kept)
  const person = { id: 'a', name: 'A', role: 'editor', token: 't', by: /** @type {const} */ ('demo') }
  keepPerson(storage, person)
  assert.deepEqual(loadPerson(storage), person)
  keepPerson(storage, null)
  assert.equal(loadPerson(storage), null)
  assert.equal(loadPerson(storageOf({ 'quorate.person': '{"id":1}' })), null)
  assert.equal(loadPerson(storageOf({ 'quorate.person': '{' })), null)
})
