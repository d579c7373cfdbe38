/** The mark that says what is saved, the banner that says what to do, and the same for a screen reader. */

import { element, makeButton } from './elements.js'
import { describe } from './wording.js'

/** "Saved" is told this much later than it is true, so that the mark does not flicker at each letter. */
const CALM_MILLISECONDS = 350

export class StatusView {
  #calming = 0
  #announced = ''

  /** @param {(remedy: string) => { label: string, act: () => void }[]} actionsFor */
  constructor(actionsFor) {
    this.actionsFor = actionsFor
  }

  /**
   * @param {import('./wording.js').ConnectionState} state
   */
  show(state) {
    const wording = describe(state)
    const status = element('status')
    clearTimeout(this.#calming)
    const wasSaving = status.dataset.tone === 'saving'
    if (wording.tone === 'saved' && wasSaving) {
      this.#calming = window.setTimeout(() => this.#render(state, wording), CALM_MILLISECONDS)
    } else {
      this.#render(state, wording)
    }
  }

  close() {
    clearTimeout(this.#calming)
    element('banner').hidden = true
    element('status').dataset.tone = 'opening'
    element('status-text').textContent = 'Opening…'
    this.#announced = ''
  }

  /**
   * @param {import('./wording.js').ConnectionState} state
   * @param {import('./wording.js').Wording} wording
   */
  #render(state, { tone, label, title, advice }) {
    element('status').dataset.tone = tone
    element('status-text').textContent = label
    element('banner').hidden = !title
    element('banner').dataset.tone = tone
    element('banner-title').textContent = title
    element('banner-advice').textContent = advice
    this.#offer(state)
    this.#announce(tone, `${label}. ${title}`)
  }

  /** @param {import('./wording.js').ConnectionState} state */
  #offer(state) {
    const place = element('banner-actions')
    const key = `${state.phase} ${state.reason}`
    if (place.dataset.key === key) return // buttons that somebody is about to press stay
    place.dataset.key = key
    place.replaceChildren(...this.actionsFor(key).map(({ label, act }) => makeButton(label, act)))
  }

  /**
   * Tell a screen reader of what changed for good; each letter saved is not worth a word.
   *
   * @param {string} tone
   * @param {string} text
   */
  #announce(tone, text) {
    const isQuiet = tone === 'saving' || tone === 'opening' || tone === this.#announced
    if (isQuiet) return
    const isFirst = this.#announced === '' && tone === 'saved'
    this.#announced = tone
    if (!isFirst) element('announcer').textContent = text
  }
}
