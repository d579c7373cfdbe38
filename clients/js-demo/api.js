/** The server's HTTP interface, as far as this page needs it. */

import { pathOf } from './names.js'

/** What the server said when it could not do what was asked (RFC 9457), in words for a person. */
export class ApiProblem extends Error {
  /**
   * @param {number} status 0 when the server could not be reached
   * @param {string} detail
   * @param {Record<string, unknown>} [more] what else it says, for programs
   */
  constructor(status, detail, more) {
    super(detail)
    this.name = 'ApiProblem'
    this.status = status
    this.more = more
  }
}

/**
 * @typedef {object} DocumentInfo
 * @property {string} name
 * @property {string} kind
 * @property {number} created_at
 * @property {string} created_by
 * @property {number | null} deleted_at
 *
 * @typedef {import('./session.js').Person} Person
 */

/**
 * @param {string} path relative to the page, so that it can be mounted below any other
 * @param {string} [token]
 * @param {RequestInit} [options]
 * @returns {Promise<any>}
 */
async function call(path, token, options = {}) {
  /** @type {Response} */
  let answer
  try {
    const headers = { ...(token ? { Authorization: `Bearer ${token}` } : {}), ...options.headers }
    answer = await fetch(new URL(path, document.baseURI), { ...options, headers })
  } catch {
    throw new ApiProblem(0, 'The server cannot be reached. Check the connection and try again.')
  }
  const body = await answer.json().catch(() => null)
  if (!answer.ok) {
    throw new ApiProblem(answer.status, sentence(body?.detail ?? `The server answered ${answer.status}.`), body ?? {})
  }
  return body
}

/** @param {string} text */
function sentence(text) {
  const trimmed = String(text).trim()
  return trimmed[0].toLocaleUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? '' : '.')
}

/**
 * @param {string} token
 * @returns {Promise<DocumentInfo[]>} all documents that this person may read, the deleted ones too
 */
export async function listDocuments(token) {
  /** @type {DocumentInfo[]} */
  const all = []
  let after = ''
  do {
    const page = await call(`api/documents?limit=1000&deleted=true&after=${encodeURIComponent(after)}`, token)
    all.push(...page.documents)
    after = page.next ?? ''
  } while (after)
  return all
}

/**
 * @param {string} token
 * @param {string} name
 */
export async function createDocument(token, name) {
  const headers = { 'Content-Type': 'application/json' }
  await call('api/documents', token, { method: 'POST', headers, body: JSON.stringify({ name }) })
}

/**
 * @param {string} token
 * @param {string} name
 * @param {Record<string, unknown>} values
 * @returns {Promise<any>} its answer
 */
export async function giveCommand(token, name, values) {
  const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': crypto.randomUUID() }
  return await call(`api/commands/${name}`, token, { method: 'POST', headers, body: JSON.stringify(values) })
}

/**
 * @param {string} token
 * @param {string} name
 */
export async function deleteDocument(token, name) {
  await call(`api/documents/${pathOf(name)}`, token, { method: 'DELETE' })
}

/**
 * @param {string} token
 * @param {string} name
 */
export async function restoreDocument(token, name) {
  await call(`api/restorations/${pathOf(name)}`, token, { method: 'POST' })
}

/** @returns {Promise<{ people: Omit<Person, 'by'>[], samples: string[] } | null>} null when this is no demo */
export async function demoPeople() {
  try {
    return await call('demo/people')
  } catch (error) {
    if (error instanceof ApiProblem && error.status === 404) return null
    throw error
  }
}

/** @returns {Promise<boolean>} whether the server lets everybody in */
export async function isOpen() {
  try {
    await call('api/documents?limit=1')
    return true
  } catch (error) {
    if (error instanceof ApiProblem && error.status === 401) return false
    throw error
  }
}
