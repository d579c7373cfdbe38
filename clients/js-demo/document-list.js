/** The list of documents, and the form that creates one. */

import { createDocument, listDocuments } from './api.js'
import { byId, element, make, showProblem } from './elements.js'
import { hashOf, nameFrom, titleOf } from './names.js'
import { mayWrite } from './session.js'

/** @typedef {import('./session.js').Person} Person */
/** @typedef {{ name: string, kind: string, isNew: boolean }} Item */

const FILTER_FROM = 9
const REFRESH_MILLISECONDS = 15_000

export class DocumentList {
  /** @type {Item[]} */
  #items = []
  #current = ''

  /**
   * @param {Person} person
   * @param {() => Promise<string>} token
   * @param {string[]} samples  documents that exist as soon as somebody opens them
   */
  constructor(person, token, samples) {
    this.token = token
    this.samples = samples
    element('create-open').hidden = !mayWrite(person)
    const note = element('documents-note')
    note.hidden = mayWrite(person)
    note.textContent = 'You may read these documents. Owners and editors can create new ones.'
    byId('filter', HTMLInputElement).addEventListener('input', () => this.#render())
    this.#listenToForm()
    this.refreshing = setInterval(() => void this.refresh(), REFRESH_MILLISECONDS)
  }

  /** Ask the server what there is. */
  async refresh() {
    if (document.hidden) return
    try {
      const found = await listDocuments(await this.token())
      const names = new Set(found.map(({ name }) => name))
      const untouched = this.samples.filter((name) => !names.has(name))
      this.#items = [
        ...found.filter(({ deleted_at }) => !deleted_at).map(({ name, kind }) => ({ name, kind, isNew: false })),
        ...untouched.map((name) => ({ name, kind: name.split('/')[0], isNew: true })),
      ].sort((a, b) => titleOf(a.name).localeCompare(titleOf(b.name)))
      showProblem('documents-problem')
    } catch (error) {
      showProblem('documents-problem', error)
    }
    this.#render()
  }

  /** @param {string} name the document that is open, empty for none */
  mark(name) {
    this.#current = name
    this.#render()
  }

  #render() {
    const filter = byId('filter', HTMLInputElement).value.trim().toLocaleLowerCase()
    element('filter-label').hidden = this.#items.length < FILTER_FROM
    const shown = this.#items.filter(({ name }) => `${name} ${titleOf(name)}`.toLocaleLowerCase().includes(filter))
    const key = JSON.stringify([shown, this.#current])
    const list = element('document-list')
    if (list.dataset.key === key) return
    list.dataset.key = key
    const focused = list.contains(document.activeElement) ? document.activeElement?.getAttribute('href') : null
    list.replaceChildren(...shown.map((item) => this.#row(item)))
    if (focused) [...list.querySelectorAll('a')].find((link) => link.getAttribute('href') === focused)?.focus()
  }

  /** @param {Item} item */
  #row({ name, kind, isNew }) {
    const link = make('a', { href: hashOf(name), title: name },
      make('span', { class: 'row-title' }, titleOf(name)),
      make('span', { class: 'kind' }, isNew ? 'sample' : kind))
    if (name === this.#current) link.setAttribute('aria-current', 'page')
    return make('li', {}, link)
  }

  #listenToForm() {
    const form = byId('create', HTMLFormElement)
    const opener = element('create-open')
    const title = byId('create-name', HTMLInputElement)
    const kind = byId('create-kind', HTMLSelectElement)
    const wanted = () => nameFrom(title.value, kind.value)
    const preview = () => {
      element('create-preview').textContent = wanted() && `Its name will be ${wanted()}`
    }
    const open = (/** @type {boolean} */ isOpen) => {
      form.hidden = !isOpen
      opener.setAttribute('aria-expanded', String(isOpen))
      showProblem('create-problem')
      if (isOpen) title.focus()
      else opener.focus()
    }
    opener.onclick = () => open(form.hidden !== false)
    element('create-cancel').onclick = () => open(false)
    form.oninput = preview
    form.onkeydown = (event) => {
      if (event.key === 'Escape') open(false)
    }
    form.onsubmit = (event) => {
      event.preventDefault()
      this.#create(wanted())
        .then(() => {
          form.reset()
          preview()
          open(false)
        })
        .catch((error) => showProblem('create-problem', error))
    }
  }

  /** @param {string} name */
  async #create(name) {
    if (!name) throw new Error('A title needs at least one letter or digit.')
    await createDocument(await this.token(), name)
    await this.refresh()
    location.hash = hashOf(name)
  }
}
