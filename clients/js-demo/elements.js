/** Elements of the page. Text is only ever set as text: nothing here parses markup. */

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
export function byId(id, kind) {
  const element = document.getElementById(id)
  if (!(element instanceof kind)) throw new Error(`the page has no ${kind.name} #${id}`)
  return element
}

/** @param {string} id */
export const element = (id) => byId(id, HTMLElement)

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string>} [attributes]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value)
  made.append(...children)
  return made
}

/**
 * @param {string} label
 * @param {() => void} act
 * @param {string} [style]
 */
export function makeButton(label, act, style = 'button') {
  const button = make('button', { type: 'button', class: style }, label)
  button.addEventListener('click', act)
  return button
}

/**
 * @param {{ name: string, tint: number }} person
 * @param {string} initials
 */
export function makeAvatar(person, initials) {
  return make('span', { class: `avatar tint-${person.tint}`, 'aria-hidden': 'true' }, initials)
}

/**
 * Show a problem in words, or nothing.
 *
 * @param {string} id
 * @param {unknown} [problem]
 */
export function showProblem(id, problem) {
  const place = element(id)
  place.hidden = !problem
  place.textContent = problem instanceof Error ? problem.message : String(problem ?? '')
}

/** Close open menus on Escape, and when something else is clicked. */
export function closeMenusOnLeave() {
  const opened = () => /** @type {NodeListOf<HTMLDetailsElement>} */ (document.querySelectorAll('details.menu[open]'))
  addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return
    for (const menu of opened()) {
      menu.open = false
      menu.querySelector('summary')?.focus()
    }
  })
  addEventListener('click', (event) => {
    for (const menu of opened()) if (!event.composedPath().includes(menu)) menu.open = false
  })
}
