/** The editor: CodeMirror on the document's text, with the cursors of the others. */

import { defaultKeymap } from '@codemirror/commands'
import { Language, defineLanguageFacet, syntaxHighlighting } from '@codemirror/language'
import { Compartment, EditorState } from '@codemirror/state'
import { EditorView, drawSelection, keymap, placeholder } from '@codemirror/view'
import { parser } from '@lezer/markdown'
import { yCollab, yUndoManagerKeymap } from 'y-codemirror.next'
import * as Y from 'yjs'
import { remoteCursors } from './cursors.js'
import { monospaced, proportional, textStyle, tinted } from './editor-theme.js'

/**
 * @typedef {object} Editor
 * @property {(mayType: boolean) => void} setMayType
 * @property {() => void} focus
 * @property {() => void} close
 */

/**
 * Open an editor in `host`. It lives in a shadow root: there CodeMirror's styles need no exception in the page's
 * policy, and the page's styles do not reach into the text.
 *
 * @param {HTMLElement} host
 * @param {Y.Text} text
 * @param {import('./cursors.js').Awareness} awareness
 * @param {{ label: string, isCode: boolean }} options
 * @returns {Editor}
 */
export function openEditor(host, text, awareness, { label, isCode }) {
  const root = host.shadowRoot ?? host.attachShadow({ mode: 'open' })
  const writing = new Compartment()
  const undoManager = new Y.UndoManager(text)
  const view = new EditorView({
    root,
    parent: root,
    state: EditorState.create({
      doc: text.toString(),
      extensions: [
        yCollab(text, null, { undoManager }),
        remoteCursors(text, awareness),
        keymap.of([...yUndoManagerKeymap, ...defaultKeymap]), // Tab is left to the page: it moves the focus
        EditorView.lineWrapping,
        drawSelection({ cursorBlinkRate: isCalm() ? 0 : 1200 }),
        isCode ? monospaced : [new Language(defineLanguageFacet(), parser, [], 'markdown'), proportional],
        syntaxHighlighting(textStyle),
        tinted,
        EditorView.contentAttributes.of({ 'aria-label': label, spellcheck: isCode ? 'false' : 'true' }),
        writing.of(reading()),
      ],
    }),
  })
  let mayType = false
  return {
    setMayType(may) {
      if (may === mayType) return
      mayType = may
      view.dispatch({ effects: writing.reconfigure(may ? placeholder('Write here…') : reading()) })
    },
    focus: () => view.focus(),
    close() {
      view.destroy()
      undoManager.destroy()
    },
  }
}

/** Whether the person asked for as little motion as possible. */
const isCalm = () => matchMedia('(prefers-reduced-motion: reduce)').matches

/** Nothing can be typed; the text can still be reached, scrolled and copied with the keyboard. */
function reading() {
  return [
    EditorState.readOnly.of(true),
    EditorView.editable.of(false),
    EditorView.contentAttributes.of({ tabindex: '0', 'aria-readonly': 'true' }),
  ]
}
