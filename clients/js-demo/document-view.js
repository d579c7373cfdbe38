/** One open document on the page: connection, editor, who is here, and what is saved. */

import { ApiProblem, deleteDocument, restoreDocument } from './api.js'
import { Connection } from './connection.js'
import { openEditor } from './editor.js'
import { byId, element, showProblem } from './elements.js'
import { titleOf } from './names.js'
import { noticeText } from './notices.js'
import { showPeople } from './people-view.js'
import { COLORS, tintOf } from './presence.js'
import { RequestBody } from './request-view.js'
import { isOwner } from './session.js'
import { hideSettings, showSettings } from './settings-view.js'
import { StatusView } from './status-view.js'
import { showToast } from './toasts.js'
import { ending } from './wording.js'

const CODE_KINDS = new Set(['code', 'configuration', 'workflow', 'plan'])
const LEAVING_MILLISECONDS = 1000

/**
 * @typedef {object} House what the document asks of the rest of the page
 * @property {import('./session.js').Person} person
 * @property {() => Promise<string>} token
 * @property {() => void} signInAgain
 * @property {() => void} listChanged
 */

/**
 * Open what people write in: a form for a request, an editor for everything else.
 *
 * @param {Connection} connection
 * @param {House} house
 * @param {{ id: string, name: string, color: string }} user
 * @returns {import('./editor.js').Editor}
 */
function openBody(connection, house, user) {
  const kind = connection.name.split('/')[0]
  if (kind === 'approval') return new RequestBody(connection, house, user)
  const { text, awareness, name } = connection
  if (kind === 'configuration') showSettings(connection.doc)
  return openEditor(element('editor'), text, awareness, {
    label: `Text of ${titleOf(name)}`,
    isCode: CODE_KINDS.has(kind),
  })
}

export class DocumentView {
  #isClosed = false
  #isDue = false
  #shownPhase = 'opening'

  /**
   * @param {string} name
   * @param {House} house
   */
  constructor(name, house) {
    this.name = name
    this.house = house
    this.status = new StatusView(() => this.#actions())
    const { person } = house
    const user = { id: person.id, name: person.name, color: COLORS[tintOf(person.id)] }
    this.connection = new Connection(name, user, house.token, {
      changed: () => this.#schedule(),
      noticed: (payload) => this.#notice(payload),
    })
    this.editor = openBody(this.connection, house, user)
    element('title').textContent = titleOf(name)
    element('title').title = name
    element('empty').hidden = true
    element('open').hidden = false
    this.#listenToDelete()
    this.#render()
  }

  /** Whether closing the tab would lose edits. */
  get hasUnsaved() {
    return this.connection.state.waiting > 0
  }

  /** Go on with a new token. */
  signedIn() {
    this.connection.retry()
  }

  close() {
    this.#isClosed = true
    this.status.close()
    this.editor.close()
    hideSettings()
    this.connection.close()
    element('open').hidden = true
    element('empty').hidden = false
    element('delete').hidden = true
  }

  /** Many things change at once: they are shown once a frame, and still when the tab is in the background. */
  #schedule() {
    if (this.#isDue) return
    this.#isDue = true
    queueMicrotask(() => {
      this.#isDue = false
      if (!this.#isClosed) this.#render()
    })
  }

  #render() {
    const { connection } = this
    const { state, awareness } = connection
    this.status.show(state)
    this.editor.setMayType(connection.mayType)
    element('editor').dataset.phase = connection.isLoaded ? state.phase : 'opening'
    element('delete').hidden = !(isOwner(this.house.person) && state.phase === 'online')
    showPeople(awareness.getStates(), awareness.clientID, state.phase === 'online')
    if (state.phase !== this.#shownPhase) this.#refreshList(state.phase)
    this.#shownPhase = state.phase
  }

  /**
   * Opening a sample creates it, and a deleted document leaves the list a moment after people are sent away.
   *
   * @param {import('./wording.js').ConnectionState['phase']} phase
   */
  #refreshList(phase) {
    if (phase === 'online') this.house.listChanged()
    if (phase === 'ended') setTimeout(this.house.listChanged, LEAVING_MILLISECONDS)
  }

  /** What can be done about the state of things, as buttons. */
  #actions() {
    const { state } = this.connection
    if (state.phase === 'offline') return [{ label: 'Try now', act: () => this.connection.retry() }]
    if (state.phase !== 'ended') return []
    const { remedy } = ending(state.reason)
    const actions = []
    if (remedy === 'sign-in') actions.push({ label: 'Sign in again', act: this.house.signInAgain })
    if (remedy === 'restore' && isOwner(this.house.person)) {
      actions.push({ label: 'Restore it', act: () => void this.#restore() })
    }
    if (remedy !== 'sign-in') actions.push({ label: 'Try again', act: () => this.connection.retry() })
    if (this.connection.text.length > 0) actions.push({ label: 'Copy the text', act: () => void this.#copy() })
    return actions
  }

  /** @param {string} payload */
  #notice(payload) {
    const text = noticeText(payload)
    if (text) showToast(text)
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.connection.text.toString())
      showToast('The text is copied.')
    } catch {
      showToast('The browser did not let the page copy: select the text and copy it yourself.')
    }
  }

  async #restore() {
    try {
      await restoreDocument(await this.house.token(), this.name)
      this.house.listChanged()
      this.connection.retry()
    } catch (error) {
      showToast(error instanceof ApiProblem ? error.message : String(error))
    }
  }

  #listenToDelete() {
    const dialog = byId('delete-dialog', HTMLDialogElement)
    element('delete').onclick = () => {
      element('delete-name').textContent = titleOf(this.name)
      showProblem('delete-problem')
      dialog.showModal()
    }
    element('delete-confirm').onclick = () => {
      this.house.token()
        .then((token) => deleteDocument(token, this.name))
        .then(() => {
          dialog.close()
          this.house.listChanged()
        })
        .catch((error) => showProblem('delete-problem', error))
    }
  }
}
