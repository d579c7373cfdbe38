/** An editor on the stock provider of Hocuspocus, any version, alone on its socket or sharing one. */
import * as Y from 'yjs'
import { Journal } from './journal.js'

/**
 * @typedef {object} Library
 * @property {new (configuration: object) => any} HocuspocusProvider
 * @property {new (configuration: object) => any} HocuspocusProviderWebsocket
 */

/** A socket that editors may share. */
export class HocuspocusSocket {
  journal = new Journal()

  /**
   * @param {Library} library
   * @param {string} url of the server
   */
  constructor ({ HocuspocusProviderWebsocket }, url) {
    this.provider = new HocuspocusProviderWebsocket({
      url: `${url}/hocuspocus`,
      WebSocketPolyfill: this.journal.socketClass()
    })
  }

  destroy () { this.provider.destroy() }
}

/**
 * @typedef {object} Place
 * @property {string} document
 * @property {Array<string>} tokens given out one after the other, the last one again and again
 * @property {object} [options] of the provider, such as `sessionAwareness`
 */

export class HocuspocusEditor {
  hasStopped = false
  tokensGiven = 0
  scope = ''
  /** @type {Array<string>} */
  refusals = []
  /** @type {Array<string>} */
  stateless = []

  /**
   * @param {Library} library
   * @param {HocuspocusSocket} socket
   * @param {Place} place
   * @param {boolean} isSharing whether other editors use the same socket
   */
  constructor ({ HocuspocusProvider }, socket, { document, tokens, options = {} }, isSharing) {
    this.socket = socket
    this.isSharing = isSharing
    this.doc = new Y.Doc()
    this.text = this.doc.getText('text')
    this.provider = new HocuspocusProvider({
      websocketProvider: socket.provider,
      name: document,
      document: this.doc,
      token: () => tokens[Math.min(this.tokensGiven++, tokens.length - 1)],
      // Only version 2 has it, and editors of one process would hear each other past the server.
      broadcast: false,
      onAuthenticated: () => { this.scope = this.provider.authorizedScope },
      onAuthenticationFailed: (/** @type {{ reason: string }} */ { reason }) => this.refusals.push(reason),
      onStateless: (/** @type {{ payload: string }} */ { payload }) => this.stateless.push(payload),
      ...options
    })
    // From version 3 on, a provider on a socket of its own choice has to be attached.
    this.provider.attach?.()
  }

  get journal () { return this.socket.journal }

  get awareness () { return this.provider.awareness }

  report () {
    const { provider, refusals, stateless, scope, tokensGiven } = this
    return {
      refusals,
      stateless,
      scope,
      tokensGiven,
      synced: provider.isSynced,
      unsynced: provider.unsyncedChanges,
      hasUnsynced: provider.hasUnsyncedChanges,
      isConnected: this.socket.provider.status === 'connected'
    }
  }

  /** @param {string} payload */
  sendStateless (payload) { this.provider.sendStateless(payload) }

  forceSync () { this.provider.forceSync() }

  disconnect () { this.socket.provider.disconnect() }

  connect () { this.socket.provider.connect() }

  destroy () {
    this.provider.destroy()
    this.doc.destroy()
    if (!this.isSharing) this.socket.destroy()
  }
}
