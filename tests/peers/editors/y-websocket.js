/** An editor on the stock provider of y-websocket, any version. */
import { Journal } from './journal.js'

/**
 * What differs between the versions.
 *
 * @typedef {object} Library
 * @property {new () => any} Doc
 * @property {new (url: string, room: string, doc: any, options: object) => any} WebsocketProvider
 * @property {(doc: any) => any} textOf
 */

/**
 * @typedef {object} Place
 * @property {string} url of the server
 * @property {string} document
 * @property {string} token
 * @property {boolean} [asSubprotocol] whether the token travels as a subprotocol instead of in the query
 */

export class YWebSocketEditor {
  journal = new Journal()
  hasStopped = false

  /**
   * @param {Library} library
   * @param {Place} place
   */
  constructor ({ Doc, WebsocketProvider, textOf }, { url, document, token, asSubprotocol = false }) {
    this.doc = new Doc()
    this.text = textOf(this.doc)
    this.provider = new WebsocketProvider(`${url}/sync`, document, this.doc, {
      ...(asSubprotocol ? { protocols: [`quorate.token.${token}`] } : { params: { token } }),
      WebSocketPolyfill: this.journal.socketClass(frame => this.journal.readFrame(frame, this.doc.clientID)),
      // All editors of a test are in one process: without this they would hear each other past the server.
      disableBc: true
    })
    // Only version 3.1 ever stops by itself.
    this.provider.on('closed', () => { this.hasStopped = true })
  }

  report () {
    const { provider, doc } = this
    return {
      synced: provider.synced,
      isConnected: provider.wsconnected,
      unconfirmed: clockOf(doc) - this.journal.echoed
    }
  }

  get awareness () { return this.provider.awareness }

  disconnect () { this.provider.disconnect() }

  connect () { this.provider.connect() }

  destroy () {
    this.provider.destroy()
    this.provider.awareness.destroy()
    this.doc.destroy()
  }
}

/**
 * How much this document's own client has written, as a Yjs clock.
 *
 * @param {any} doc
 */
const clockOf = doc => {
  const last = doc.store.clients.get(doc.clientID)?.at(-1)
  return last === undefined ? 0 : last.id.clock + last.length
}
