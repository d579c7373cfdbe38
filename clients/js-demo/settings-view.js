/** The settings of a configuration, as they are now. They are written by programs and the HTTP interface. */

import { element } from './elements.js'

/** @param {import('yjs').Doc} doc */
export function showSettings(doc) {
  const settings = doc.getMap('settings')
  const show = () => {
    const kept = settings.toJSON()
    element('settings').hidden = Object.keys(kept).length === 0
    element('settings-json').textContent = JSON.stringify(kept, null, 2)
  }
  settings.observeDeep(show)
  show()
}

/** Show none. */
export function hideSettings() {
  element('settings').hidden = true
  element('settings-json').textContent = ''
}
