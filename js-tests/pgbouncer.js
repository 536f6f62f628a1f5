'use strict'

const { spawn } = require('node:child_process')
const fs = require('node:fs')
const net = require('node:net')
const os = require('node:os')
const path = require('node:path')

/** Debian's PgBouncer in front of a server, with its own defaults but for what is named here. */

/** It does not run as root; Debian's PostgreSQL brings this user. */
const USER = 'postgres'
const START_MILLIS = 10000

function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

async function accepts(port, child) {
  const until = Date.now() + START_MILLIS
  for (;;) {
    const open = await new Promise((resolve) => {
      const socket = net.connect(port, '127.0.0.1', () => resolve(true)).once('error', () => resolve(false))
      socket.once('connect', () => socket.destroy())
    })
    if (open) return
    if (child.exitCode !== null || Date.now() > until) throw new Error(`PgBouncer does not start: ${child.said}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** Starts it before the server of `pg` (host, port, user, password, database); `mode` is its pool_mode. */
async function startPgBouncer(pg, mode) {
  const port = await freePort()
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'heys-pgbouncer-'))
  fs.chmodSync(folder, 0o755)
  const users = path.join(folder, 'users')
  const config = path.join(folder, 'pgbouncer.ini')
  fs.writeFileSync(users, `"${pg.user}" "${pg.password}"\n`)
  fs.writeFileSync(
    config,
    `[databases]
${pg.database} = host=${pg.host} port=${pg.port} dbname=${pg.database}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${users}
pool_mode = ${mode}
default_pool_size = 20
`,
  )
  const asRoot = process.getuid() === 0
  const program = ['/usr/sbin/pgbouncer', '/usr/bin/pgbouncer'].find((file) => fs.existsSync(file))
  if (program === undefined) throw new Error('PgBouncer is not installed: apt-get install pgbouncer')
  const child = spawn(program, [...(asRoot ? ['-u', USER] : []), '-q', config], { stdio: ['ignore', 'pipe', 'pipe'] })
  child.said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (child.said += text))
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  await accepts(port, child)
  return {
    settings: { host: '127.0.0.1', port, user: pg.user, password: pg.password, database: pg.database },
    async stop() {
      process.off('exit', kill)
      const ended = new Promise((resolve) => child.once('exit', resolve))
      // At once, whoever is connected.
      child.kill('SIGTERM')
      await ended
      fs.rmSync(folder, { recursive: true, force: true })
    },
  }
}

module.exports = { startPgBouncer }
