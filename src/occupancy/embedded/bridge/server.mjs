// The listening socket.
import net from 'node:net'
import { HOST } from './options.mjs'

export function listen(port, onConnection) {
  const server = net.createServer(onConnection)
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(new Error(`cannot listen on ${HOST}:${port}: ${error.message}`)))
    server.listen(port, HOST, () => resolve(server))
  })
}
