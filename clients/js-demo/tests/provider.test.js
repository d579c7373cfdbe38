/** The stock provider against a server that answers when it is told to: its own number, and ours. */

import { HocuspocusProvider, HocuspocusProviderWebsocket } from '@hocuspocus/provider'
import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import * as Y from 'yjs'
import { SavedState, readFrame } from '../saved-state.js'
import { watchedSocket } from '../watched-socket.js'

const ADDRESS = [1, 0x64] // "d"
const MAY_WRITE = [...ADDRESS, 2, 2, 10, ...Buffer.from('read-write')]
const STEP1 = [...ADDRESS, 0, 0, 1, 0]
const STEP2 = [...ADDRESS, 0, 1, 2, 0, 0]
const STORED = [...ADDRESS, 8, 1]

/** @type {FakeSocket[]} */
let sockets = []

class FakeSocket extends EventTarget {
  readyState = 0
  /** @type {{ kind: number, detail: number }[]} */
  frames = []

  constructor() {
    super()
    sockets.push(this)
  }

  /** @param {Uint8Array} frame */
  send(frame) {
    this.frames.push(readFrame(frame))
  }

  close() {
    if (this.readyState === 3) return
    this.readyState = 3
    this.dispatchEvent(new Event('close'))
  }

  /** @param {number[]} frame */
  says(frame) {
    this.dispatchEvent(Object.assign(new Event('message'), { data: new Uint8Array(frame).buffer }))
  }

  async opens() {
    this.readyState = 1
    this.dispatchEvent(new Event('open'))
    await turn()
  }

  /** How many of the provider's frames are answered with a status. */
  get questions() {
    return this.frames.filter(({ kind, detail }) => kind === 0 && detail > 0).length
  }
}

const turn = () => new Promise((resolve) => setTimeout(resolve, 5))

function open() {
  sockets = []
  const saved = new SavedState()
  const doc = new Y.Doc()
  const Fake = /** @type {typeof WebSocket} */ (/** @type {unknown} */ (FakeSocket))
  const socket = new HocuspocusProviderWebsocket({
    url: 'ws://fake', delay: 1, minDelay: 0, jitter: false, WebSocketPolyfill: watchedSocket(Fake, saved, () => {}),
  })
  /** @type {HocuspocusProvider | null} */
  let provider = null
  doc.on('update', (_, origin) => void (origin !== provider && saved.edited()))
  provider = new HocuspocusProvider({ name: 'd', document: doc, token: 't', websocketProvider: socket })
  provider.attach()
  closing.push(() => {
    provider.destroy()
    socket.destroy()
  })
  return { provider, saved, text: doc.getText('text') }
}

/** @type {(() => void)[]} */
const closing = []
afterEach(() => closing.splice(0).forEach((close) => close()))

/** @param {FakeSocket} server */
async function welcome(server) {
  await server.opens()
  server.says(MAY_WRITE)
  server.says(STEP1)
  server.says(STEP2)
}

test('each edit waits for its status', async () => {
  const { saved, text } = open()
  await welcome(sockets[0])
  assert.equal(sockets[0].questions, 1)
  sockets[0].says(STORED)
  text.insert(0, 'a')
  text.insert(1, 'b')
  assert.equal(saved.waiting, 2)
  sockets[0].says(STORED)
  assert.equal(saved.waiting, 1)
  sockets[0].says(STORED)
  assert.equal(saved.waiting, 0)
})

test('after a reconnect the provider counts down to nothing too early, and this page does not', async () => {
  const { provider, saved, text } = open()
  await welcome(sockets[0])
  sockets[0].says(STORED)
  sockets[0].close()
  for (const letter of 'abc') text.insert(0, letter)
  assert.equal(saved.waiting, 3)

  while (sockets.length < 2) await turn()
  await welcome(sockets[1])
  text.insert(0, 'd')
  assert.equal(sockets[1].questions, 5) // three from its queue, the step 2, and the edit after it
  sockets[1].says(STORED)
  sockets[1].says(STORED)
  assert.equal(provider.hasUnsyncedChanges, false) // although three frames have no answer yet
  assert.equal(saved.waiting, 4)

  sockets[1].says(STORED)
  sockets[1].says(STORED) // the step 2, with all three
  assert.equal(saved.waiting, 1)
  sockets[1].says(STORED)
  assert.equal(saved.waiting, 0)
})
