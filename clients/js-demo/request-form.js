/** The form of a request: its fields, each bound to a member of a Yjs map, so that people fill it in together. */

import { make } from './elements.js'

/**
 * @typedef {object} FieldSpec
 * @property {string} key
 * @property {string} label
 * @property {'string' | 'number' | 'boolean' | 'array' | 'object'} type
 * @property {string[]} [options]
 * @property {boolean} [isRequired]
 *
 * @typedef {HTMLInputElement | HTMLSelectElement} Input
 */

/**
 * @param {FieldSpec} spec
 * @param {import('yjs').Map<unknown>} map
 * @param {string} id
 */
export function boundField(spec, map, id) {
  const input = makeInput(spec, id)
  input.addEventListener('change', () => {
    try {
      input.setCustomValidity('')
      const value = readInput(spec, input)
      if (JSON.stringify(value) === JSON.stringify(map.get(spec.key))) return
      if (value === undefined) map.delete(spec.key)
      else map.set(spec.key, value)
    } catch {
      input.setCustomValidity('Expected JSON, such as ["a", "b"].')
      input.reportValidity()
    }
  })
  const label = make('label', { for: id }, spec.isRequired ? `${spec.label} *` : spec.label)
  const show = () => {
    if (document.activeElement !== input || input.type === 'checkbox') showValue(spec, input, map.get(spec.key))
  }
  show()
  return { row: make('div', { class: 'row' }, label, input), input, show }
}

/** @param {FieldSpec} spec @param {string} id @returns {Input} */
function makeInput(spec, id) {
  if (spec.options?.length) {
    const options = ['', ...spec.options].map((value) => make('option', { value }, value.replaceAll('_', ' ')))
    return make('select', { id }, ...options)
  }
  const types = { boolean: 'checkbox', number: 'number' }
  const type = spec.type === 'boolean' || spec.type === 'number' ? types[spec.type] : 'text'
  return make('input', { id, type, autocomplete: 'off', ...(type === 'number' ? { step: 'any' } : {}) })
}

/**
 * @param {FieldSpec} spec
 * @param {Input} input
 * @returns {unknown} what the field says; undefined for nothing
 */
function readInput(spec, input) {
  if (spec.type === 'boolean') return /** @type {HTMLInputElement} */ (input).checked
  const text = input.value.trim()
  if (!text) return undefined
  if (spec.type === 'number') return Number(text)
  return spec.type === 'string' ? text : JSON.parse(text)
}

/** @param {FieldSpec} spec @param {Input} input @param {unknown} value */
function showValue(spec, input, value) {
  if (spec.type === 'boolean') {
    /** @type {HTMLInputElement} */ (input).checked = value === true
    return
  }
  const plain = value && typeof value === 'object' && 'toJSON' in value ? /** @type {any} */ (value).toJSON() : value
  const text = plain === undefined || plain === null ? '' : typeof plain === 'string' ? plain : JSON.stringify(plain)
  if (input.value !== text) input.value = text
}
