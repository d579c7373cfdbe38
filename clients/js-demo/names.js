/** Names of documents: in the address, in the list, and as somebody types them. */

/**
 * @param {string} hash `location.hash`
 * @returns {string} the document's name, empty for none
 */
export function nameInHash(hash) {
  try {
    return decodeURIComponent(hash.replace(/^#/, ''))
  } catch {
    return ''
  }
}

/**
 * @param {string} name
 * @returns {string} the address of a document; slashes stay readable
 */
export function hashOf(name) {
  return `#${pathOf(name)}`
}

/**
 * @param {string} name
 * @returns {string} the name as the end of a path
 */
export function pathOf(name) {
  return name.split('/').map(encodeURIComponent).join('/')
}

/**
 * @param {string} typed
 * @param {string} kind
 * @returns {string} `kind/slug`; empty when nothing is left
 */
export function nameFrom(typed, kind) {
  const slug = typed
    .normalize('NFC')
    .toLocaleLowerCase()
    .replace(/[^\p{L}\p{M}\p{N}]+/gu, '-')
    .replace(/^-+|-+$/g, '')
  return slug && `${kind}/${slug}`
}

/**
 * @param {string} name
 * @returns {string} a title for people: `text/retention-policy` is "Retention policy"
 */
export function titleOf(name) {
  const slug = name.includes('/') ? name.slice(name.indexOf('/') + 1) : name
  const words = slug.replace(/[-_]+/g, ' ').trim()
  return words ? words[0].toLocaleUpperCase() + words.slice(1) : name
}
