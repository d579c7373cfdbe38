/** Toasts: notices that stay until they are closed. */

import { element, make, makeButton } from './elements.js'

const MAX_TOASTS = 4

/** @param {string} text */
export function showToast(text) {
  const place = element('toasts')
  const toast = make('div', { class: 'toast' }, make('p', {}, text))
  const close = makeButton('Close', () => toast.remove(), 'button small')
  close.setAttribute('aria-label', `Close the notice: ${text}`)
  toast.append(close)
  place.append(toast)
  while (place.children.length > MAX_TOASTS) place.firstElementChild?.remove()
}
