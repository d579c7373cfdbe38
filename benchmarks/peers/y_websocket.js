/**
 * `@y/websocket-server`, on a free port of this machine.
 *
 * `node y_websocket.js [FOLDER]`: with a folder, y-leveldb keeps each update there, as the server's own
 * LevelDB adapter did until it was taken out. What its command line does beyond this is to read PORT and HOST.
 */
import http from 'node:http'
import { setPersistence, setupWSConnection } from '@y/websocket-server/utils'
import { WebSocketServer } from 'ws'
import { LeveldbPersistence } from 'y-leveldb'
import * as Y from 'yjs'

const [folder] = process.argv.slice(2)
if (folder) {
  const stored = new LeveldbPersistence(folder)
  setPersistence({
    provider: stored,
    bindState: async (name, doc) => {
      doc.on('update', update => { stored.storeUpdate(name, update) })
      const before = await stored.getYDoc(name)
      Y.applyUpdate(doc, Y.encodeStateAsUpdate(before))
    },
    writeState: async () => {}
  })
}
const sockets = new WebSocketServer({ noServer: true })
sockets.on('connection', setupWSConnection)
const server = http.createServer((_request, response) => { response.end('okay') })
server.on('upgrade', (request, socket, head) => {
  sockets.handleUpgrade(request, socket, head, opened => { sockets.emit('connection', opened, request) })
})
server.listen(0, '127.0.0.1', () => { console.log(`ready on http://127.0.0.1:${server.address().port}`) })
