/**
 * The ceiling of Node.js: `ws`, which hands each message to everybody on the same path, and nothing else.
 */
import { WebSocketServer } from 'ws'

/** @type {Map<string, Set<import('ws').WebSocket>>} */
const rooms = new Map()
const server = new WebSocketServer({ host: '127.0.0.1', port: 0 })
server.on('connection', (socket, request) => {
  const room = rooms.get(request.url) ?? new Set()
  rooms.set(request.url, room.add(socket))
  socket.on('message', message => { for (const each of room) each.send(message) })
  socket.on('close', () => { room.delete(socket) })
})
server.on('listening', () => { console.log(`ready on http://127.0.0.1:${server.address().port}`) })
