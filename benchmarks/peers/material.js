/**
 * Updates that the real Yjs makes, as a file: each after its length in four bytes, little end first.
 *
 * `node material.js typing FILE CLIENT COUNT`   one person types COUNT letters, each an update
 * `node material.js paper FILE RECORDING`       the whole of a recorded history of keystrokes, as one update
 * `node material.js pasted FILE BYTES`          a document of about BYTES bytes, of pieces pasted here and there
 */
import * as fs from 'node:fs'
import { gunzipSync } from 'node:zlib'
import * as encoding from 'lib0/encoding'
import * as prng from 'lib0/prng'
import * as Y from 'yjs'

const WORDS = 'the people who decide together write down what they decide and why '

/** @param {number} client */
const newDoc = client => {
  const doc = new Y.Doc()
  doc.clientID = client
  return doc
}

const CHUNK = 2000

/**
 * A document in which `client` has typed `typed` letters, of which only the last is still there.
 *
 * What is typed behind it is told in the same bytes as behind all of them, and does not become slower with each.
 * @param {number} client @param {number} typed
 */
const typedInto = (client, typed) => {
  const doc = new Y.Doc()
  if (typed > 0) {
    const encoder = encoding.createEncoder()
    for (const number of [1, 2, client, 0, 0, typed - 1, 4, 1]) encoding.writeVarUint(encoder, number)
    encoding.writeVarString(encoder, 'text')
    encoding.writeVarString(encoder, WORDS[(typed - 1) % WORDS.length])
    encoding.writeVarUint(encoder, 0)
    Y.applyUpdate(doc, encoding.toUint8Array(encoder))
  }
  doc.clientID = client // only now: Yjs takes another one when it hears of its own
  return doc
}

/** @param {string} client @param {string} count */
const typing = (client, count) => {
  /** @type {Array<Uint8Array>} */
  const updates = []
  for (let start = 0; start < Number(count); start += CHUNK) {
    const doc = typedInto(Number(client), start)
    const text = doc.getText('text')
    doc.on('update', update => { updates.push(update) })
    const end = Math.min(start + CHUNK, Number(count))
    for (let i = start; i < end; i++) text.insert(text.length, WORDS[i % WORDS.length])
  }
  return updates
}

/** @param {string} recording */
const paper = recording => {
  const doc = newDoc(1)
  const text = doc.getText('text')
  const { txns, endContent } = JSON.parse(gunzipSync(fs.readFileSync(recording)).toString())
  for (const { patches } of txns) {
    for (const [at, deleted, inserted] of patches) {
      if (deleted) text.delete(at, deleted)
      if (inserted) text.insert(at, inserted)
    }
  }
  if (text.toString() !== endContent) throw new Error('the recording does not end as it says')
  return [Y.encodeStateAsUpdate(doc)]
}

/** @param {string} bytes */
const pasted = bytes => {
  const doc = newDoc(1)
  const text = doc.getText('text')
  const random = prng.create(1)
  const piece = (WORDS + WORDS).slice(0, 100)
  for (let size = 0; size < Number(bytes); size += piece.length + 12) text.insert(prng.int32(random, 0, text.length), piece)
  return [Y.encodeStateAsUpdate(doc)]
}

const [kind, file, ...rest] = process.argv.slice(2)
const makers = { typing, paper, pasted }
const updates = makers[kind](...rest)
const parts = updates.flatMap((/** @type {Uint8Array} */ update) => {
  const length = Buffer.alloc(4)
  length.writeUInt32LE(update.length)
  return [length, update]
})
fs.writeFileSync(file, Buffer.concat(parts))
