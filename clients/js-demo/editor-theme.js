/** How the text looks. Colours are the page's custom properties, which reach into the editor's shadow root. */

import { HighlightStyle } from '@codemirror/language'
import { EditorView } from '@codemirror/view'
import { tags } from '@lezer/highlight'
import { COLORS } from './presence.js'

const base = EditorView.theme({
  '&': { color: 'var(--ink)', backgroundColor: 'transparent', height: '100%' },
  '&.cm-focused': { outline: 'none' },
  '.cm-scroller': { fontFamily: 'inherit', lineHeight: 'inherit', overflow: 'visible' },
  '.cm-content': { padding: '0', minHeight: '50vh', caretColor: 'var(--ink)' },
  '.cm-line': { padding: '0' },
  '.cm-placeholder': { color: 'var(--quiet)' },
  '.cm-cursor': { borderLeft: '2px solid var(--ink)' },
  '.cm-selectionBackground, &.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground': {
    background: 'var(--selection)',
  },
})

export const proportional = [
  base,
  EditorView.theme({ '&': { fontFamily: 'var(--prose)', fontSize: '1.0625rem', lineHeight: '1.7' } }),
]

export const monospaced = [
  base,
  EditorView.theme({ '&': { fontFamily: 'var(--mono)', fontSize: '0.9375rem', lineHeight: '1.6' } }),
]

/** Carets, flags and selections of the others; a flag rests after a while, so that it hides no text. */
export const tinted = EditorView.theme({
  ...Object.fromEntries(COLORS.map((_, tint) => [`.tint-${tint}`, { '--person': `var(--tint-${tint})` }])),
  '.selection': { backgroundColor: 'color-mix(in srgb, var(--person) 24%, transparent)' },
  '.caret': {
    position: 'relative',
    borderLeft: '2px solid var(--person)',
    marginLeft: '-1px',
    marginRight: '-1px',
  },
  '.flag': {
    position: 'absolute',
    top: '-1.05rem',
    left: '-2px',
    padding: '0 0.375rem',
    borderRadius: '4px 4px 4px 0',
    background: 'var(--person)',
    color: 'var(--on-person)',
    font: '600 0.6875rem/1.0625rem var(--interface)',
    whiteSpace: 'nowrap',
    userSelect: 'none',
    zIndex: '5',
    animation: 'rest 0.4s 6s forwards',
  },
  '.caret:hover .flag': { animation: 'none' },
  '@keyframes rest': { to: { opacity: '0' } },
  '@media (prefers-reduced-motion: reduce)': { '.flag': { animation: 'rest 1ms 6s forwards' } },
})

export const textStyle = HighlightStyle.define([
  { tag: tags.heading1, fontSize: '1.5em', fontWeight: '650', letterSpacing: '-0.015em', lineHeight: '1.35' },
  { tag: tags.heading, fontWeight: '650' },
  { tag: tags.strong, fontWeight: '650' },
  { tag: tags.emphasis, fontStyle: 'italic' },
  { tag: tags.monospace, fontFamily: 'var(--mono)', fontSize: '0.9em' },
  { tag: tags.link, textDecoration: 'underline' },
  { tag: tags.processingInstruction, color: 'var(--quiet)' },
])
