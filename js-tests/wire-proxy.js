'use strict'

const net = require('node:net')

const HEARD = 4096

/** A TCP proxy inside the test's own process: cuts, stalls and counts connections on demand. */
async function startProxy({ host, port }) {
  const pairs = new Set()
  let stalled = false
  let accepted = 0
  let heard = ''
  const server = net.createServer((near) => {
    accepted++
    const far = net.connect(port, host)
    const pair = { near, far }
    pairs.add(pair)
    near.on('data', (chunk) => {
      heard = (heard + chunk.toString('latin1')).slice(-HEARD)
      far.write(chunk)
    })
    far.on('data', (chunk) => near.write(chunk))
    if (stalled) for (const socket of [near, far]) socket.pause()
    const close = () => {
      pairs.delete(pair)
      near.destroy()
      far.destroy()
    }
    for (const socket of [near, far]) socket.on('close', close).on('error', close)
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    host: '127.0.0.1',
    port: server.address().port,
    /** Connections accepted so far. */
    get accepted() {
      return accepted
    },
    /** The last characters that came from clients. */
    get heard() {
      return heard
    },
    /** Resets every connection. */
    cut() {
      for (const { near } of pairs) near.resetAndDestroy()
    },
    /** Ends every connection in an orderly way. */
    finish() {
      for (const { near } of pairs) near.end()
    },
    stall() {
      stalled = true
      for (const { near, far } of pairs) for (const socket of [near, far]) socket.pause()
    },
    resume() {
      stalled = false
      for (const { near, far } of pairs) for (const socket of [near, far]) socket.resume()
    },
    async close() {
      for (const { near, far } of pairs) for (const socket of [near, far]) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

module.exports = { startProxy }
