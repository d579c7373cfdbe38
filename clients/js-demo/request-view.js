/** An approval request on the page: what is asked for, written together, and where it stands, as the server says. */

import * as Y from 'yjs'
import { ApiProblem, giveCommand } from './api.js'
import { Connection } from './connection.js'
import { openEditor } from './editor.js'
import { byId, element, make, makeButton, showProblem } from './elements.js'
import { boundField } from './request-form.js'
import { actionsFor, describeMore, describeState, stagesOf } from './request-state.js'
import { mayWrite } from './session.js'

/**
 * @typedef {import('./request-form.js').FieldSpec} FieldSpec
 * @typedef {import('./request-state.js').RequestRecord} RequestRecord
 * @typedef {{ type: string, title: string, fields: { name: string, type: FieldSpec['type'], is_required: boolean,
 *   options: string[], summary: string }[] }} Template
 */

const PRIORITIES = ['low', 'normal', 'high', 'urgent', 'emergency']
const RISKS = ['low', 'medium', 'high', 'critical']

export class RequestBody {
  /** @type {import('./editor.js').Editor | null} */
  #editor = null
  /** @type {Template[]} */
  #templates = []
  /** @type {ReturnType<typeof boundField>[]} */
  #rows = []
  #shownType = ''
  #shownRecord = ''
  #mayType = false
  #isClosed = false

  /**
   * @param {Connection} connection of the content
   * @param {import('./document-view.js').House} house
   * @param {{ id: string, name: string, color: string }} user
   */
  constructor(connection, house, user) {
    this.connection = connection
    this.house = house
    this.request = connection.doc.getMap('request')
    this.fields = connection.doc.getMap('fields')
    this.record = new Connection(`${connection.name}/record`, user, house.token, {
      changed: () => this.#showRecord(),
      noticed() {},
    })
    for (const map of [this.request, this.fields]) map.observeDeep(() => this.render())
    this.record.doc.on('update', () => this.#showRecord())
    element('editor').hidden = true
    element('request').hidden = false
    element('request-why-begin').onclick = () => this.#beginWhy()
    byId('request-reason', HTMLTextAreaElement).value = ''
    this.house.token()
      .then((token) => giveCommand(token, 'approvals.templates', {}))
      .then(({ templates }) => {
        this.#templates = templates
        this.render()
      })
      .catch((error) => showProblem('request-problem', error))
    this.render()
    this.#showRecord()
  }

  /** @param {boolean} mayType */
  setMayType(mayType) {
    this.#mayType = mayType
    this.render()
  }

  focus() {
    this.#rows[0]?.input.focus()
  }

  close() {
    this.#isClosed = true
    this.#editor?.close()
    this.record.close()
    element('request').hidden = true
    element('editor').hidden = false
    showProblem('request-problem')
  }

  /** Show the content as it is now. */
  render() {
    if (this.#isClosed) return
    const type = String(this.request.get('type') ?? '')
    const key = `${type} ${this.#templates.length} ${[...this.fields.keys()].sort()}`
    if (key !== this.#shownType) {
      this.#shownType = key
      this.#rows = [
        ...this.#requestFields().map((spec) => boundField(spec, this.request, `request-${spec.key}`)),
        ...this.#templateFields(type).map((spec) => boundField(spec, this.fields, `field-${spec.key}`)),
      ]
      element('request-fields').replaceChildren(...this.#rows.map(({ row }) => row))
    }
    for (const { show, input } of this.#rows) {
      show()
      input.disabled = !this.#mayType
    }
    this.#showWhy()
  }

  /** @returns {FieldSpec[]} */
  #requestFields() {
    const types = this.#templates.map((template) => template.type)
    return [
      { key: 'title', label: 'Title', type: 'string' },
      { key: 'type', label: 'Type', type: 'string', options: types, isRequired: true },
      { key: 'subject', label: 'Subject', type: 'string' },
      { key: 'priority', label: 'Priority', type: 'string', options: PRIORITIES },
      { key: 'risk_level', label: 'Risk', type: 'string', options: RISKS },
    ]
  }

  /** @param {string} type @returns {FieldSpec[]} what the type asks for, and what else is written there */
  #templateFields(type) {
    const asked = this.#templates.find((template) => template.type === type)?.fields ?? []
    const named = asked.map((field) => ({
      key: field.name,
      label: `${field.name.replaceAll('_', ' ')}: ${field.summary}`,
      type: field.type,
      options: field.options,
      isRequired: field.is_required,
    }))
    const others = [...this.fields.keys()].filter((key) => !asked.some((field) => field.name === key)).sort()
    return [...named, ...others.map((key) => ({ key, label: key, type: this.#typeOf(key) }))]
  }

  /** @param {string} key @returns {FieldSpec['type']} */
  #typeOf(key) {
    const value = this.fields.get(key)
    if (typeof value === 'number' || typeof value === 'boolean') return /** @type {any} */ (typeof value)
    return typeof value === 'string' ? 'string' : 'object'
  }

  #showWhy() {
    const why = this.request.get('justification')
    element('request-why-begin').hidden = why instanceof Y.Text || !this.#mayType
    if (why instanceof Y.Text && !this.#editor) {
      this.#editor = openEditor(element('request-why'), why, this.connection.awareness, {
        label: 'Why it is asked for',
        isCode: false,
      })
    }
    this.#editor?.setMayType(this.#mayType)
  }

  #beginWhy() {
    if (!(this.request.get('justification') instanceof Y.Text)) this.request.set('justification', new Y.Text())
    this.#editor?.focus()
  }

  #showRecord() {
    if (this.#isClosed) return
    const kept = this.record.doc.getMap('record').toJSON()
    const record = /** @type {RequestRecord | null} */ (kept.approval ?? null)
    const isReviewOpen = kept.approval_review?.state === 'open'
    const key = JSON.stringify([record, isReviewOpen])
    if (key === this.#shownRecord) return // buttons that somebody is about to press stay
    this.#shownRecord = key
    const { words, tone } = describeState(record)
    element('request-state').textContent = words
    element('request-state').dataset.tone = tone
    element('request-note').textContent = describeMore(record)
    element('request-stages').replaceChildren(...(record ? stagesOf(record) : []).map(stageItem))
    element('request-rules').replaceChildren(...(record?.explanation ?? []).map((rule) => make('li', {}, rule)))
    this.#offer(actionsFor(record, this.house.person.id, { mayWrite: mayWrite(this.house.person), isReviewOpen }))
  }

  /** @param {import('./request-state.js').Action[]} actions */
  #offer(actions) {
    element('request-act').hidden = actions.length === 0
    element('request-actions').replaceChildren(...actions.map((action) =>
      makeButton(action.label, () => void this.#act(action), `button ${action.style ?? ''}`.trim())))
  }

  /** @param {import('./request-state.js').Action} action */
  async #act(action) {
    const place = byId('request-reason', HTMLTextAreaElement)
    const reason = place.value.trim()
    showProblem('request-problem')
    if (action.needsReason && !reason) {
      showProblem('request-problem', 'Say why, so that others understand it.')
      place.focus()
      return
    }
    const values = { artifact: this.connection.name, ...action.values, ...(action.command === 'submit' ? {} : { reason }) }
    try {
      await giveCommand(await this.house.token(), `approvals.${action.command}`, values)
      place.value = ''
    } catch (error) {
      showProblem('request-problem', error instanceof ApiProblem ? wholeProblem(error) : error)
    }
  }
}

/** @param {ApiProblem} problem */
function wholeProblem(problem) {
  const diff = problem.more?.diff
  if (!diff || typeof diff !== 'object') return problem.message
  return `${problem.message} Changed meanwhile: ${Object.keys(diff).join(', ')}.`
}

/** @param {ReturnType<typeof stagesOf>[number]} stage */
function stageItem({ title, state, lines }) {
  const name = make('p', { class: 'strong' }, `${title}: ${state}`)
  return make('li', { 'data-state': state }, name, ...lines.map((line) => make('p', { class: 'quiet small' }, line)))
}
