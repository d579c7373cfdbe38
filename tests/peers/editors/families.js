/** Which stock clients there are. Each uses the Yjs that it was published for, unmodified. */
import * as hocuspocus2 from '@hocuspocus/provider-2'
import * as hocuspocus3 from '@hocuspocus/provider-3'
import * as hocuspocus4 from '@hocuspocus/provider-4'
import * as yWebsocket4 from '@y/websocket'
import * as Y14 from '@y/y'
import * as yWebsocket1 from 'y-websocket-1'
import * as yWebsocket2 from 'y-websocket-2'
import * as yWebsocket3 from 'y-websocket-3'
import * as Y from 'yjs'
import { HocuspocusEditor, HocuspocusSocket } from './hocuspocus.js'
import { YWebSocketEditor } from './y-websocket.js'

/** @param {Y.Doc} doc */
const textOf = doc => doc.getText('text')

/** @type {Record<string, import('./y-websocket.js').Library>} */
const Y_WEBSOCKET = {
  'y-websocket-1': { Doc: Y.Doc, WebsocketProvider: yWebsocket1.WebsocketProvider, textOf },
  'y-websocket-2': { Doc: Y.Doc, WebsocketProvider: yWebsocket2.WebsocketProvider, textOf },
  'y-websocket-3': { Doc: Y.Doc, WebsocketProvider: yWebsocket3.WebsocketProvider, textOf },
  'y-websocket-4': { Doc: Y14.Doc, WebsocketProvider: yWebsocket4.WebsocketProvider, textOf: doc => doc.get('text') }
}

/** @type {Record<string, import('./hocuspocus.js').Library>} */
const HOCUSPOCUS = {
  'hocuspocus-2': hocuspocus2,
  'hocuspocus-3': hocuspocus3,
  'hocuspocus-4': hocuspocus4
}

/** @type {Map<string, HocuspocusSocket>} Sockets that are shared, by the name that the test gave them. */
const sockets = new Map()

/**
 * @param {any} request with the family, the url of the server, the document, and `tokens`
 * @returns {YWebSocketEditor | HocuspocusEditor}
 */
export const openEditor = request => {
  const { family, url, socket, tokens } = request
  if (family in Y_WEBSOCKET) return new YWebSocketEditor(Y_WEBSOCKET[family], { ...request, token: tokens[0] })
  const library = HOCUSPOCUS[family]
  if (socket === undefined) return new HocuspocusEditor(library, new HocuspocusSocket(library, url), request, false)
  const shared = sockets.get(socket) ?? new HocuspocusSocket(library, url)
  sockets.set(socket, shared)
  return new HocuspocusEditor(library, shared, request, true)
}

export const closeSockets = () => {
  for (const socket of sockets.values()) socket.destroy()
  sockets.clear()
}
