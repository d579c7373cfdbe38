/** A WebSocket that tells of every frame that passes: what the provider says it sends may still be in its queue. */

/**
 * @param {typeof WebSocket} Base
 * @param {import('./saved-state.js').SavedState} saved
 * @param {() => void} changed
 * @returns {typeof WebSocket}
 */
export function watchedSocket(Base, saved, changed) {
  /** @type {WebSocket | null} */
  let newest = null
  return class extends Base {
    /** @param {string | URL} url */
    constructor(url) {
      super(url)
      newest = this
      saved.connecting()
      this.addEventListener('message', ({ data }) => {
        if (newest !== this) return
        saved.received(new Uint8Array(data))
        changed()
      })
    }

    /** @param {any} frame */
    send(frame) {
      if (newest === this) saved.sent(frame)
      super.send(frame)
    }
  }
}
