/** Who is here, as avatars and as a list. */

import { element, make, makeAvatar } from './elements.js'
import { initials, peopleHere } from './presence.js'
import { counted } from './wording.js'

const MAX_AVATARS = 4

/**
 * @param {Map<number, any>} states
 * @param {number} ownClient
 * @param {boolean} isOnline
 */
export function showPeople(states, ownClient, isOnline) {
  const people = peopleHere(states, ownClient)
  const count = isOnline ? `${counted(people.length, 'person is', 'people are')} here` : 'Offline: nobody else can be seen'
  const key = JSON.stringify([people, isOnline])
  const summary = element('here-summary')
  if (summary.dataset.key === key) return
  summary.dataset.key = key
  const hidden = people.length - MAX_AVATARS
  summary.replaceChildren(
    make('span', { class: 'unseen' }, `${count}. Show them.`),
    ...people.slice(0, MAX_AVATARS).map((person) => makeAvatar(person, initials(person.name))),
    ...(hidden > 0 ? [make('span', { class: 'avatar more', 'aria-hidden': 'true' }, `+${hidden}`)] : []),
    make('span', { class: 'count', 'aria-hidden': 'true' }, String(people.length)),
  )
  element('here-title').textContent = count
  element('here-list').replaceChildren(...people.map(row))
}

/** @param {import('./presence.js').PresentPerson} person */
function row(person) {
  const notes = [person.isYou ? 'you' : '', person.windows > 1 ? `${person.windows} windows` : ''].filter(Boolean)
  const name = make('span', {}, person.name)
  const note = make('span', { class: 'quiet small' }, notes.join(', '))
  return make('li', {}, makeAvatar(person, initials(person.name)), name, note)
}
