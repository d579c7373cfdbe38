/** Signing in: as one of the demo's people, by a name where everybody may write, or with a token. */

import { demoPeople, isOpen, listDocuments } from './api.js'
import { element, make, makeAvatar, showProblem } from './elements.js'
import { initials, shownName, tintOf } from './presence.js'
import { personFromToken } from './session.js'

/** @typedef {import('./session.js').Person} Person */

/** @type {Record<string, string>} */
const ROLE_WORDS = {
  owner: 'Owner: writes, deletes and restores',
  editor: 'Editor: writes',
  reviewer: 'Reviewer: reads',
  commenter: 'Commenter: reads',
  viewer: 'Viewer: reads',
  guest: 'Guest',
}

/** @param {string} role */
export const roleWords = (role) => ROLE_WORDS[role] ?? role

/**
 * Show the way to sign in that this server has.
 *
 * @param {(person: Person) => void} done
 */
export async function showSignIn(done) {
  const choices = element('sign-in-choices')
  choices.replaceChildren()
  showProblem('sign-in-problem')
  element('sign-in').hidden = false
  try {
    const demo = await demoPeople()
    if (demo) askWhich(choices, demo.people, done)
    else if (await isOpen()) askName(choices, done)
    else askToken(choices, done)
  } catch (error) {
    say('The server does not answer', '')
    showProblem('sign-in-problem', error)
    const again = make('button', { type: 'button', class: 'button primary' }, 'Try again')
    again.addEventListener('click', () => void showSignIn(done))
    choices.replaceChildren(again)
  }
  element('sign-in-title').focus()
}

/** @param {string} title @param {string} lead */
function say(title, lead) {
  element('sign-in-title').textContent = title
  element('sign-in-lead').textContent = lead
}

/**
 * @param {HTMLElement} place
 * @param {Omit<Person, 'by'>[]} people
 * @param {(person: Person) => void} done
 */
function askWhich(place, people, done) {
  say('Who is writing?', 'This is a demo: choose a person. Open a second window as somebody else and write together.')
  const list = make('ul', { class: 'choices' })
  for (const person of people) {
    const name = shownName(person.name)
    const words = make('span', { class: 'choice-words' },
      make('span', { class: 'strong' }, name), make('span', { class: 'quiet small' }, roleWords(person.role)))
    const avatar = makeAvatar({ name, tint: tintOf(person.id) }, initials(name))
    const button = make('button', { type: 'button', class: 'choice' }, avatar, words)
    button.addEventListener('click', () => done({ ...person, by: 'demo' }))
    list.append(make('li', {}, button))
  }
  place.replaceChildren(list)
}

/**
 * @param {HTMLElement} place
 * @param {(person: Person) => void} done
 */
function askName(place, done) {
  say('What is your name?', 'On this server everybody may write. Others see your name beside your cursor.')
  askFor(place, { label: 'Your name', autocomplete: 'name', maxlength: '60' }, async (name) => {
    done({ id: '', name, role: 'editor', token: name, by: 'open' })
  })
}

/**
 * @param {HTMLElement} place
 * @param {(person: Person) => void} done
 */
function askToken(place, done) {
  say('Sign in with a token', 'Whoever runs this server makes one with “quorate token”, and it says who you are.')
  askFor(place, { label: 'Token', autocomplete: 'off', spellcheck: 'false', class: 'mono' }, async (token) => {
    const person = personFromToken(token)
    if (!person) throw new Error('This is not a token: it has three parts with dots between them.')
    await listDocuments(token) // the server says whether it is good
    done(person)
  })
}

/**
 * @param {HTMLElement} place
 * @param {Record<string, string>} field
 * @param {(value: string) => Promise<void>} use
 */
function askFor(place, { label, ...attributes }, use) {
  const input = make('input', { id: 'sign-in-field', required: '', ...attributes })
  const form = make('form', { class: 'ask' },
    make('label', { for: 'sign-in-field' }, label), input,
    make('button', { type: 'submit', class: 'button primary' }, 'Continue'))
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    const value = input.value.trim()
    if (!value) return
    showProblem('sign-in-problem')
    use(value).catch((error) => showProblem('sign-in-problem', error))
  })
  place.replaceChildren(form)
}
