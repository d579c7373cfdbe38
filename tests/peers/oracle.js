/**
 * The JavaScript originals as an oracle: one request a line of JSON, one answer a line, bytes as hex.
 *
 * An answer is `{ value }`, or `{ error }` with the message of what the original threw.
 */
import * as readline from 'node:readline'
import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'
import * as awarenessProtocol from 'y-protocols/awareness'
import * as syncProtocol from 'y-protocols/sync'
import * as Y from 'yjs'
import { randomUpdates } from './documents.js'

/** @param {string} hex */
const bytes = hex => new Uint8Array(Buffer.from(hex, 'hex'))
/** @param {Uint8Array} data */
const hex = data => Buffer.from(data).toString('hex')
/** @param {(encoder: encoding.Encoder) => void} write */
const written = write => hex(encoding.encode(write))

/**
 * What one request gives, or what the original threw.
 *
 * @param {() => any} attempt
 */
const outcome = attempt => {
  try {
    return { value: attempt() }
  } catch (error) {
    return { error: String(error) }
  }
}

/** @param {Y.ID | null} id */
const idOf = id => id === null ? null : [id.client, id.clock]

/** @param {any} struct */
const listStruct = struct => {
  const base = { client: struct.id.client, clock: struct.id.clock, length: struct.length }
  const kind = struct.constructor.name
  if (kind !== 'Item') return { ...base, kind }
  const { content, parent } = struct
  return {
    ...base,
    kind,
    content: content.constructor.name,
    type: content instanceof Y.ContentType ? content.type.constructor.name : null,
    parent: typeof parent === 'string' ? parent : idOf(parent),
    key: struct.parentSub,
    origin: idOf(struct.origin),
    rightOrigin: idOf(struct.rightOrigin)
  }
}

/** @param {Uint8Array} update */
const list = update => {
  const { structs, ds } = Y.decodeUpdate(update)
  const deletes = []
  for (const [client, ranges] of ds.clients) {
    for (const { clock, len } of ranges) deletes.push([client, clock, len])
  }
  return { structs: structs.map(listStruct), deletes }
}

const newAwareness = () => {
  const awareness = new awarenessProtocol.Awareness(new Y.Doc())
  awareness.setLocalState(null)
  awareness.states.clear()
  awareness.meta.clear()
  return awareness
}

/** @type {Record<string, (request: any) => any>} */
const operations = {
  writeVarUints: ({ values }) => values.map((/** @type {number} */ value) => written(e => encoding.writeVarUint(e, value))),
  readVarUints: ({ data }) => data.map((/** @type {string} */ each) => outcome(() => {
    const decoder = decoding.createDecoder(bytes(each))
    return [decoding.readVarUint(decoder), decoder.pos]
  })),
  writeVarInts: ({ values }) => values.map((/** @type {number} */ value) => written(e => encoding.writeVarInt(e, value))),
  readVarInts: ({ data }) => data.map((/** @type {string} */ each) => outcome(() => {
    const decoder = decoding.createDecoder(bytes(each))
    return [decoding.readVarInt(decoder), decoder.pos]
  })),
  writeVarStrings: ({ values }) => values.map((/** @type {string} */ value) => written(e => encoding.writeVarString(e, value))),
  readVarStrings: ({ data }) => data.map((/** @type {string} */ each) => outcome(() => {
    const decoder = decoding.createDecoder(bytes(each))
    return [decoding.readVarString(decoder), decoder.pos]
  })),

  /** Applies updates one after the other; answers with every clock and every state. */
  applyAwareness: ({ updates }) => {
    const awareness = newAwareness()
    const tests = updates.map((/** @type {string} */ update) => outcome(() => {
      awarenessProtocol.applyAwarenessUpdate(awareness, bytes(update), 'remote')
      return null
    }))
    const clocks = [...awareness.meta].map(([client, { clock }]) => [client, clock])
    const states = [...awareness.states]
    const again = hex(awarenessProtocol.encodeAwarenessUpdate(awareness, [...awareness.meta.keys()]))
    awareness.destroy()
    return { tests, clocks, states, again }
  },

  /** What a real client sends: the two steps and an update of one random document. */
  writeSync: ({ seed }) => randomUpdates(seed).slice(-1).map(update => {
    const doc = new Y.Doc()
    Y.applyUpdate(doc, update)
    return {
      stateVector: hex(Y.encodeStateVector(doc)),
      state: hex(Y.encodeStateAsUpdate(doc)),
      step1: written(e => syncProtocol.writeSyncStep1(e, doc)),
      step2: written(e => syncProtocol.writeSyncStep2(e, doc)),
      update: written(e => syncProtocol.writeUpdate(e, update)),
      payload: hex(update)
    }
  })[0],

  /** Lets a real client read a sync message; answers with its reply and its content afterwards. */
  readSync: ({ message }) => {
    const doc = new Y.Doc()
    doc.clientID = 1
    doc.getText('t').insert(0, 'here')
    const encoder = encoding.createEncoder()
    const kind = syncProtocol.readSyncMessage(decoding.createDecoder(bytes(message)), encoder, doc, 'remote')
    return { kind, reply: hex(encoding.toUint8Array(encoder)), stateVector: hex(Y.encodeStateVector(doc)) }
  },

  readStateVectors: ({ data }) => data.map((/** @type {string} */ each) => outcome(() => [...Y.decodeStateVector(bytes(each))])),

  /** Random sessions; answers with each update, its listing, and its ends as Yjs tells them. */
  documents: ({ seeds }) => seeds.flatMap((/** @type {number} */ seed) => randomUpdates(seed).map(update => ({
    seed,
    update: hex(update),
    listing: list(update),
    ends: [...Y.parseUpdateMeta(update).to]
  }))),

  listings: ({ updates }) => updates.map((/** @type {string} */ update) => outcome(() => list(bytes(update))))
}

/**
 * JSON has no undefined, no bigint and no negative zero; the tests compare numbers as text where it matters.
 *
 * @param {string} _key
 * @param {any} value
 */
const plain = (_key, value) => typeof value === 'bigint' ? String(value) : value

for await (const line of readline.createInterface({ input: process.stdin })) {
  const request = JSON.parse(line)
  process.stdout.write(JSON.stringify(outcome(() => operations[request.operation](request)), plain) + '\n')
}
