/** Who is signed in in this tab, kept over a reload, and what their token says. */

/**
 * @typedef {object} Person
 * @property {string} id
 * @property {string} name
 * @property {string} role
 * @property {string} token
 * @property {'demo' | 'open' | 'token'} by  how they signed in
 */

const KEY = 'quorate.person'

/** Roles that can change documents. What anybody may do is decided by the server; this is for what to offer. */
const WRITING_ROLES = new Set(['owner', 'editor'])

/** @param {Person} person */
export const mayWrite = (person) => WRITING_ROLES.has(person.role)

/** @param {Person} person */
export const isOwner = (person) => person.role === 'owner'

/**
 * @param {Pick<Storage, 'getItem'>} storage
 * @returns {Person | null}
 */
export function loadPerson(storage) {
  try {
    const person = JSON.parse(storage.getItem(KEY) ?? 'null')
    const isWhole = person && [person.id, person.name, person.role, person.token].every((x) => typeof x === 'string')
    return isWhole ? person : null
  } catch {
    return null
  }
}

/**
 * @param {Pick<Storage, 'setItem' | 'removeItem'>} storage
 * @param {Person | null} person
 */
export function keepPerson(storage, person) {
  if (person) storage.setItem(KEY, JSON.stringify(person))
  else storage.removeItem(KEY)
}

/**
 * @param {string} token
 * @returns {Record<string, unknown> | null} what a token claims, unverified; null when it is no JWT
 */
export function claimsOf(token) {
  try {
    const part = token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/')
    const bytes = Uint8Array.from(atob(part), (letter) => letter.charCodeAt(0))
    const claims = JSON.parse(new TextDecoder().decode(bytes))
    return typeof claims === 'object' ? claims : null
  } catch {
    return null
  }
}

/**
 * @param {string} token
 * @returns {Person | null}
 */
export function personFromToken(token) {
  const claims = claimsOf(token)
  if (!claims || typeof claims.sub !== 'string') return null
  const name = typeof claims.name === 'string' && claims.name ? claims.name : claims.sub
  const role = typeof claims.role === 'string' ? claims.role : 'editor'
  return { id: claims.sub, name, role, token, by: 'token' }
}

/**
 * @param {string} token
 * @param {number} now in seconds
 * @returns {boolean} whether it ends within a minute, or has ended
 */
export function isEnding(token, now) {
  const expires = claimsOf(token)?.exp
  return typeof expires === 'number' && expires - now < 60
}
