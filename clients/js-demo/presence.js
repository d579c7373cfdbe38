/** Who is here: from raw presence, which anybody may have written, to people that can be shown. */

/**
 * @typedef {object} PresentPerson
 * @property {string} id
 * @property {string} name
 * @property {number} tint   index of the person's colour
 * @property {boolean} isYou
 * @property {number} windows  in how many windows they have the document open
 */

/** Colours for other editors that ask presence for one; this page has its own, see `--tint-…` in the style. */
export const COLORS = [
  '#a8324a', '#3c6e22', '#77600a', '#a04a12', '#0f6f62', '#12669b', '#4858b8', '#7a47ab', '#9c3586', '#5c6670',
]

const MAX_NAME = 60

/**
 * @param {unknown} value
 * @returns {string} a name that can be shown, whatever was sent
 */
export function shownName(value) {
  // Direction overrides and line breaks could make one name look like another.
  const text = typeof value === 'string' ? value.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, ' ').trim() : ''
  return [...text].slice(0, MAX_NAME).join('') || 'Somebody'
}

/**
 * @param {string} name
 * @returns {string} one or two letters
 */
export function initials(name) {
  const words = name.split(/[\s._-]+/u).filter(Boolean)
  const chosen = words.length > 1 ? [words[0], words[words.length - 1]] : words
  return chosen.map((word) => [...word][0].toLocaleUpperCase()).join('') || '?'
}

/**
 * @param {string} id
 * @returns {number} the same colour for the same person in every window
 */
export function tintOf(id) {
  let hash = 0x811c9dc5 // FNV-1a
  for (const byte of new TextEncoder().encode(id)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0
  return (hash >>> 3) % COLORS.length // the low bits of FNV are its weakest
}

/**
 * @param {any} state one client's presence
 * @param {number} client
 * @returns {{ id: string, name: string, tint: number } | null} null for one that says nobody
 */
export function personOf(state, client) {
  const user = state?.user
  if (typeof user !== 'object' || user === null) return null
  const id = typeof user.id === 'string' && user.id ? user.id : `client-${client}`
  return { id, name: shownName(user.name), tint: tintOf(id) }
}

/**
 * @param {Map<number, any>} states
 * @param {number} ownClient
 * @returns {PresentPerson[]} you first, then by name; a person with several windows once
 */
export function peopleHere(states, ownClient) {
  /** @type {Map<string, PresentPerson>} */
  const people = new Map()
  for (const [client, state] of states) {
    const person = personOf(state, client)
    if (!person) continue
    const known = people.get(person.id) ?? { ...person, isYou: false, windows: 0 }
    known.windows += 1
    known.isYou ||= client === ownClient
    people.set(person.id, known)
  }
  return [...people.values()].sort(
    (a, b) => Number(b.isYou) - Number(a.isYou) || a.name.localeCompare(b.name),
  )
}
