/** One document, open on the server: the stock provider, and what is true about the connection. */

import { HocuspocusProvider, HocuspocusProviderWebsocket, WebSocketStatus } from '@hocuspocus/provider'
import * as Y from 'yjs'
import { SavedState } from './saved-state.js'
import { watchedSocket } from './watched-socket.js'

/** @typedef {import('./wording.js').ConnectionState} ConnectionState */

const RECONNECT = { delay: 500, minDelay: 300, maxDelay: 5000, factor: 1.6 }
const REOPEN_MILLISECONDS = 1000

export class Connection {
  doc = new Y.Doc()
  text = this.doc.getText('text')
  /** Whether the document's content has arrived at least once. */
  isLoaded = false

  #saved = new SavedState()
  /** @type {ConnectionState['phase']} */
  #phase = 'opening'
  #isReadOnly = true
  #reason = ''
  #reopening = 0
  #socket
  #provider

  /**
   * @param {string} name
   * @param {{ id: string, name: string, color: string }} user  what others see; the server corrects id and name
   * @param {() => Promise<string>} token
   * @param {{ changed: () => void, noticed: (payload: string) => void }} listener
   */
  constructor(name, user, token, listener) {
    this.name = name
    this.listener = listener
    // Before the provider listens too: an edit is counted before it is sent.
    this.doc.on('update', (_update, origin) => this.#onUpdate(origin))
    const url = new URL('hocuspocus', document.baseURI)
    url.protocol = url.protocol.replace('http', 'ws')
    const WebSocketPolyfill = watchedSocket(WebSocket, this.#saved, () => this.listener.changed())
    this.#socket = new HocuspocusProviderWebsocket({ ...RECONNECT, url: url.href, WebSocketPolyfill })
    this.#provider = new HocuspocusProvider({
      name,
      token,
      document: this.doc,
      websocketProvider: this.#socket,
      onSynced: () => this.#onSynced(),
      onDisconnect: () => this.#enter('offline'),
      onClose: () => this.#onClose(),
      onAuthenticated: ({ scope }) => this.#onScope(scope),
      onAuthenticationFailed: ({ reason }) => this.#end(reason),
      onStateless: ({ payload }) => this.listener.noticed(payload),
    })
    this.awareness.setLocalStateField('user', user)
    this.#provider.attach()
    this.awareness.on('change', () => this.listener.changed())
  }

  get awareness() {
    const { awareness } = this.#provider
    if (!awareness) throw new Error('presence is always on')
    return awareness
  }

  /** @returns {ConnectionState} */
  get state() {
    return {
      phase: this.#phase,
      isLoaded: this.isLoaded,
      isReadOnly: this.#isReadOnly,
      waiting: this.#saved.waiting,
      refused: this.#saved.refused,
      reason: this.#reason,
    }
  }

  /** Whether typing makes sense: the content is here and the person may change it. */
  get mayType() {
    return this.isLoaded && !this.#isReadOnly && this.#phase !== 'ended'
  }

  /** Try to connect now instead of at the next attempt; also after an end, with a new token. */
  retry() {
    if (this.#phase === 'online') return
    if (this.#phase === 'ended') this.#phase = this.isLoaded ? 'offline' : 'opening'
    this.#reason = ''
    this.#reopen()
    this.listener.changed()
  }

  close() {
    clearTimeout(this.#reopening)
    this.listener = { changed() {}, noticed() {} }
    this.#provider.destroy()
    this.#socket.destroy()
    this.doc.destroy()
  }

  /** @param {unknown} origin */
  #onUpdate(origin) {
    if (origin === this.#provider) return
    this.#saved.edited()
    this.listener.changed()
  }

  #onSynced() {
    this.isLoaded = true
    this.#enter('online')
  }

  /** @param {string} scope */
  #onScope(scope) {
    this.#isReadOnly = scope === 'readonly'
    this.listener.changed()
  }

  /** Come back when the server closed the document alone: the provider would wait for ever. */
  #onClose() {
    if (this.#socket.webSocket?.readyState !== WebSocket.OPEN || this.#phase === 'ended') return
    this.#enter('offline')
    this.#reopening = window.setTimeout(() => this.#reopen(), REOPEN_MILLISECONDS)
  }

  /** @param {string} reason */
  #end(reason) {
    this.#reason = reason
    this.#enter('ended')
    this.#socket.disconnect()
  }

  #reopen() {
    clearTimeout(this.#reopening)
    this.#socket.shouldConnect = true
    // An open socket comes back by itself once it is closed; only its end tells the provider to sync again.
    if (this.#socket.status === WebSocketStatus.Connected) this.#socket.webSocket?.close()
    else void this.#socket.connect()
  }

  /** @param {ConnectionState['phase']} phase */
  #enter(phase) {
    if (this.#phase === 'ended') return // only a retry leaves an end
    this.#phase = phase
    this.listener.changed()
  }
}
