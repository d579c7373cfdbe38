/**
 * Editors on stock Yjs clients, driven by a test: one request a line of JSON, one answer a line.
 *
 * A request names an operation and an editor. An answer is `{ value }`, or `{ error }` if something was thrown.
 */
import * as readline from 'node:readline'
import { closeSockets, openEditor } from './editors/families.js'

// Stock clients print what they are told; a test reads it from the report.
console.warn = () => {}

/** @type {Map<string, any>} */
const editors = new Map()

/** @type {Record<string, (editor: any, request: any) => any>} */
const operations = {
  insert: ({ text }, { at, value }) => { text.insert(Math.min(at, text.length), value) },
  present: ({ awareness }, { state }) => { awareness.setLocalState(state) },
  sendStateless: (editor, { payload }) => { editor.sendStateless(payload) },
  forceSync: editor => { editor.forceSync() },
  disconnect: editor => { editor.disconnect() },
  connect: editor => { editor.connect() },
  cut: editor => { editor.journal.cut() },
  destroy: (editor, request) => {
    editors.delete(request.editor)
    editor.destroy()
  },
  report: editor => ({
    ...editor.journal.report(),
    client: editor.doc.clientID,
    text: String(editor.text),
    hasStopped: editor.hasStopped,
    presence: [...editor.awareness.getStates()],
    ...editor.report()
  })
}

const clear = () => {
  for (const editor of editors.values()) editor.destroy()
  editors.clear()
  closeSockets()
}

/** @param {any} request */
const answer = request => {
  if (request.operation === 'clear') return clear()
  if (request.operation === 'open') {
    editors.set(request.editor, openEditor(request))
    return
  }
  return operations[request.operation](editors.get(request.editor), request)
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const outcome = {}
  try {
    outcome.value = answer(JSON.parse(line))
  } catch (error) {
    outcome.error = error instanceof Error ? error.stack : String(error)
  }
  process.stdout.write(JSON.stringify(outcome) + '\n')
}
clear()
process.exit(0)
