/**
 * Where the others are: coloured selections, carets and name flags in the editor.
 *
 * Beside the binding's own cursors for two reasons: these set no inline style, so the page's policy can forbid it,
 * and they take a person's colour from who the server says it is, not from what their editor claims.
 */

import { Annotation, RangeSet } from '@codemirror/state'
import { Decoration, ViewPlugin, WidgetType } from '@codemirror/view'
import * as Y from 'yjs'
import { personOf } from './presence.js'

/** @typedef {import('@hocuspocus/provider').HocuspocusProvider['awareness']} MaybeAwareness */
/** @typedef {NonNullable<MaybeAwareness>} Awareness */
/** @typedef {import('@codemirror/view').EditorView} EditorView */

const othersMoved = Annotation.define()

/**
 * @param {Y.Text} text
 * @param {Awareness} awareness
 */
export function remoteCursors(text, awareness) {
  return ViewPlugin.define((view) => new Cursors(view, text, awareness), { decorations: (plugin) => plugin.shown })
}

class Cursors {
  /** @type {import('@codemirror/view').DecorationSet} */
  shown = RangeSet.empty

  /**
   * @param {EditorView} view
   * @param {Y.Text} text
   * @param {Awareness} awareness
   */
  constructor(view, text, awareness) {
    this.text = text
    this.awareness = awareness
    /** @param {Record<'added' | 'updated' | 'removed', number[]>} change */
    this.onChange = ({ added, updated, removed }) => {
      const isOthers = [...added, ...updated, ...removed].some((client) => client !== awareness.clientID)
      if (isOthers) view.dispatch({ annotations: othersMoved.of(true) })
    }
    awareness.on('change', this.onChange)
    this.shown = this.#decorate(view)
  }

  /** @param {import('@codemirror/view').ViewUpdate} update */
  update(update) {
    if (update.view.hasFocus) this.#tellOwn(update.state.selection.main)
    const isMoved = update.transactions.some((transaction) => transaction.annotation(othersMoved))
    if (isMoved || update.docChanged) this.shown = this.#decorate(update.view)
  }

  destroy() {
    this.awareness.off('change', this.onChange)
  }

  /** @param {{ anchor: number, head: number }} selection */
  #tellOwn(selection) {
    const at = (/** @type {number} */ index) => Y.relativePositionToJSON(Y.createRelativePositionFromTypeIndex(this.text, index))
    const cursor = { anchor: at(selection.anchor), head: at(selection.head) }
    const known = this.awareness.getLocalState()?.cursor
    if (JSON.stringify(known) !== JSON.stringify(cursor)) this.awareness.setLocalStateField('cursor', cursor)
  }

  /** @param {EditorView} view */
  #decorate(view) {
    /** @type {import('@codemirror/state').Range<Decoration>[]} */
    const ranges = []
    for (const [client, state] of this.awareness.getStates()) {
      const person = client === this.awareness.clientID ? null : personOf(state, client)
      const anchor = person && this.#indexOf(state.cursor?.anchor)
      const head = person && this.#indexOf(state.cursor?.head)
      if (!person || anchor == null || head == null) continue
      const [from, to] = [Math.min(anchor, head), Math.min(Math.max(anchor, head), view.state.doc.length)]
      if (from < to) ranges.push(Decoration.mark({ class: `selection tint-${person.tint}` }).range(from, to))
      const widget = new Caret(person.name, person.tint, JSON.stringify(state.cursor))
      const side = head > anchor ? -1 : 1
      ranges.push(Decoration.widget({ widget, side }).range(Math.min(head, view.state.doc.length)))
    }
    return Decoration.set(ranges, true)
  }

  /**
   * @param {unknown} position what somebody sent
   * @returns {number | null}
   */
  #indexOf(position) {
    try {
      const relative = Y.createRelativePositionFromJSON(position)
      const found = Y.createAbsolutePositionFromRelativePosition(relative, /** @type {Y.Doc} */ (this.text.doc))
      return found?.type === this.text ? found.index : null
    } catch {
      return null
    }
  }
}

class Caret extends WidgetType {
  /**
   * @param {string} name
   * @param {number} tint
   * @param {string} place  changes when its person moves, not when others write
   */
  constructor(name, tint, place) {
    super()
    this.name = name
    this.tint = tint
    this.place = place
  }

  /** @param {Caret} other */
  eq(other) {
    return this.name === other.name && this.tint === other.tint && this.place === other.place
  }

  toDOM() {
    const caret = document.createElement('span')
    caret.className = `caret tint-${this.tint}`
    caret.setAttribute('aria-hidden', 'true')
    const flag = document.createElement('span')
    flag.className = 'flag'
    flag.textContent = this.name
    caret.append('\u2060', flag, '\u2060') // word joiners: a caret is no place to break a line
    return caret
  }

  ignoreEvent() {
    return true
  }
}
