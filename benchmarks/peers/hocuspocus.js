/**
 * Hocuspocus with its default settings, on a free port of this machine.
 *
 * `node hocuspocus.js [FILE]`: with a file, its SQLite extension stores documents there, 2 s after the last change
 * and 10 s after the first one, which are the defaults.
 */
import { SQLite } from '@hocuspocus/extension-sqlite'
import { Server } from '@hocuspocus/server'

const [file] = process.argv.slice(2)
const server = new Server({
  port: 0,
  address: '127.0.0.1',
  quiet: true,
  extensions: file ? [new SQLite({ database: file })] : []
})
await server.listen()
console.log(`ready on http://127.0.0.1:${server.address.port}`)
