/** What happened to the sockets of one editor: how often they were opened, how they ended, what they were told. */
import * as decoding from 'lib0/decoding'
import WebSocket from 'ws'
import * as Y from 'yjs'

export class Journal {
  /** How many sockets were made, whether they opened or not. */
  attempts = 0
  /** How many of them opened. */
  opened = 0
  /** @type {Array<number>} The close code of each socket that ended. */
  codes = []
  /** @type {Array<string>} Why something was refused, in the order of the messages. */
  refusals = []
  /** @type {Array<string>} */
  stateless = []
  /** How much of this editor's own writing the server has sent back, as a Yjs clock. */
  echoed = 0
  /** @type {WebSocket | null} The newest socket. */
  socket = null

  /**
   * A WebSocket class for one editor, that writes into this journal.
   *
   * @param {(frame: Uint8Array) => void} onFrame
   */
  socketClass (onFrame = () => {}) {
    const journal = this
    return class extends WebSocket {
      /**
       * @param {string} url
       * @param {Array<string>} protocols
       */
      constructor (url, protocols = []) {
        super(url, protocols)
        journal.attempts += 1
        journal.socket = this
        this.on('open', () => { journal.opened += 1 })
        this.on('message', data => onFrame(new Uint8Array(/** @type {ArrayBuffer} */ (data))))
        // Providers let go of a socket that is still connecting: nobody else hears of its end.
        this.on('error', () => {})
        this.on('close', code => journal.codes.push(code))
      }
    }
  }

  /**
   * Read one frame of the y-websocket dialect.
   *
   * @param {Uint8Array} frame
   * @param {number} client whose echo to look for
   */
  readFrame (frame, client) {
    const [kind, sub] = frame
    const decoder = decoding.createDecoder(frame.subarray(2))
    if (kind === 2 && sub === 0) {
      this.refusals.push(decoding.readVarString(decoder))
    } else if (kind === 0 && sub > 0) {
      const { to } = Y.parseUpdateMeta(decoding.readVarUint8Array(decoder))
      this.echoed = Math.max(this.echoed, to.get(client) ?? 0)
    }
  }

  /** Cut the line, as a network does. */
  cut () { this.socket?.terminate() }

  report () {
    const { attempts, opened, codes, refusals, stateless } = this
    return { attempts, opened, codes, refusals, stateless }
  }
}
