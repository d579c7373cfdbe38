/** The page as a whole: who is signed in, which document the address names, and what is shown of it. */

import { demoPeople } from './api.js'
import { DocumentList } from './document-list.js'
import { DocumentView } from './document-view.js'
import { closeMenusOnLeave, element, makeAvatar } from './elements.js'
import { hashOf, nameInHash, titleOf } from './names.js'
import { initials, tintOf } from './presence.js'
import { isEnding, keepPerson, loadPerson } from './session.js'
import { roleWords, showSignIn } from './sign-in.js'

/** @typedef {import('./session.js').Person} Person */

/** Start the page. */
export async function start() {
  const person = loadPerson(sessionStorage)
  closeMenusOnLeave()
  if (person) await enter(person)
  else await askWho()
  element('starting').hidden = true
}

async function askWho() {
  element('workspace').hidden = true
  await showSignIn((person) => {
    keepPerson(sessionStorage, person)
    element('sign-in').hidden = true
    void enter(person)
  })
}

/** @param {Person} person */
async function enter(person) {
  const demo = person.by === 'demo' ? await demoPeople().catch(() => null) : null
  const workspace = new Workspace(person, demo?.samples ?? [])
  await workspace.show()
}

class Workspace {
  /** @type {DocumentView | null} */
  #open = null

  /**
   * @param {Person} person
   * @param {string[]} samples
   */
  constructor(person, samples) {
    this.person = person
    this.token = () => freshToken(this.person)
    this.list = new DocumentList(person, this.token, samples)
  }

  async show() {
    element('workspace').hidden = false
    this.#showPerson()
    addEventListener('hashchange', () => this.#follow())
    addEventListener('focus', () => void this.list.refresh())
    addEventListener('online', () => this.#open?.connection.retry())
    addEventListener('beforeunload', (event) => {
      if (this.#open?.hasUnsaved) event.preventDefault() // the browser asks whether to lose them
    })
    element('skip').onclick = () => this.#open?.editor.focus()
    this.#follow()
    await this.list.refresh()
  }

  /** Open the document that the address names. */
  #follow() {
    const name = nameInHash(location.hash)
    if (name === (this.#open?.name ?? '')) return this.#show(name)
    if (this.#open?.hasUnsaved && !confirm('Some of your edits are in this tab only and would be lost. Leave anyway?')) {
      history.replaceState(null, '', hashOf(this.#open.name))
      return
    }
    this.#open?.close()
    this.#open = null
    this.#show(name)
    if (!name) return
    this.#open = new DocumentView(name, {
      person: this.person,
      token: this.token,
      signInAgain: () => this.#signInAgain(),
      listChanged: () => void this.list.refresh(),
    })
  }

  /** @param {string} name */
  #show(name) {
    element('workspace').dataset.view = name ? 'document' : 'list'
    element('skip').hidden = !name
    document.title = name ? `${titleOf(name)} · Quorate` : 'Quorate'
    this.list.mark(name)
  }

  #showPerson() {
    const { id, name, role } = this.person
    element('you-summary').replaceChildren(makeAvatar({ name, tint: tintOf(id) }, initials(name)))
    element('you-summary').setAttribute('aria-label', `Signed in as ${name}`)
    element('you-name').textContent = name
    element('you-role').textContent = roleWords(role)
    element('sign-out').onclick = () => this.#signOut()
  }

  #signOut() {
    if (this.#open?.hasUnsaved && !confirm('Some of your edits are in this tab only and would be lost. Sign out anyway?')) {
      return
    }
    this.#open?.close()
    this.#open = null
    keepPerson(sessionStorage, null)
    location.reload()
  }

  /** Keep the document with its edits while the same person proves again who they are. */
  #signInAgain() {
    element('workspace').hidden = true
    void showSignIn((person) => {
      element('sign-in').hidden = true
      keepPerson(sessionStorage, person)
      if (person.id !== this.person.id) {
        this.#open = null // their edits are not somebody else's
        location.reload()
        return
      }
      this.person = person
      element('workspace').hidden = false
      this.#open?.signedIn()
      void this.list.refresh()
    })
  }
}

/**
 * @param {Person} person
 * @returns {Promise<string>} a token that is still good, if there is a way to get one
 */
async function freshToken(person) {
  if (person.by !== 'demo' || !isEnding(person.token, Date.now() / 1000)) return person.token
  const demo = await demoPeople().catch(() => null)
  const fresh = demo?.people.find(({ id }) => id === person.id)
  if (fresh) {
    person.token = fresh.token
    keepPerson(sessionStorage, person)
  }
  return person.token
}
