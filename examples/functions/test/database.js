'use strict'

/**
 * A PostgreSQL of the test's own: Debian's binaries, a socket-less cluster in a temporary folder, on loopback.
 * Stopped and removed with the process that started it.
 */

const { spawn, spawnSync } = require('child_process')
const fs = require('fs')
const net = require('net')
const os = require('os')
const path = require('path')
const { Client } = require('pg')
const { functions } = require('./layout')

const BASE = '/usr/lib/postgresql'

function binaries() {
  const majors = fs.existsSync(BASE) ? fs.readdirSync(BASE) : []
  const found = majors.filter((major) => fs.existsSync(path.join(BASE, major, 'bin/initdb'))).sort((a, b) => b - a)
  if (found.length === 0) throw new Error('PostgreSQL is missing: run npm run setup')
  return path.join(BASE, found[0], 'bin')
}

/** PostgreSQL refuses to run as root; Debian's package brings the user postgres. */
function asUser() {
  if (process.getuid() !== 0) return {}
  const id = (flag) => Number(spawnSync('id', [flag, 'postgres'], { encoding: 'utf8' }).stdout)
  return { uid: id('-u'), gid: id('-g') }
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

/** Starts a server with schema and seed loaded. Resolves `{port, connection, env, query(text, values), stop()}`. */
async function start() {
  const bin = binaries()
  const user = asUser()
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'heys-functions-'))
  if (user.uid !== undefined) fs.chownSync(folder, user.uid, user.gid)
  const data = path.join(folder, 'data')
  const init = spawnSync(
    path.join(bin, 'initdb'),
    ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-sync', '--locale=C.UTF-8'],
    { ...user, encoding: 'utf8', cwd: folder },
  )
  if (init.status !== 0) throw new Error(`initdb: ${init.error || init.stderr}`)
  const port = await freePort()
  const settings = ['listen_addresses=127.0.0.1', `port=${port}`, 'unix_socket_directories=', 'fsync=off']
  const server = spawn(path.join(bin, 'postgres'), ['-D', data, ...settings.flatMap((s) => ['-c', s])], {
    ...user,
    cwd: folder,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const log = []
  server.stderr.on('data', (piece) => log.push(piece))
  const gone = new Promise((resolve) => server.once('exit', resolve))
  const kill = () => {
    server.kill('SIGKILL')
    fs.rmSync(folder, { recursive: true, force: true })
  }
  process.once('exit', kill)
  await new Promise((resolve, reject) => {
    server.stderr.on('data', () => /ready to accept connections/.test(Buffer.concat(log)) && resolve())
    gone.then(() => reject(new Error(`postgres ended: ${Buffer.concat(log)}`)))
  })

  const connection = { host: '127.0.0.1', port, user: 'postgres', database: 'postgres' }
  const client = new Client(connection)
  await client.connect()
  for (const file of ['schema.sql', 'seed.sql']) await client.query(fs.readFileSync(path.join(functions, file), 'utf8'))
  return {
    port,
    connection,
    /** For the functions' own environment. */
    env: {
      PG_HOST: '127.0.0.1',
      PG_PORT: String(port),
      PG_USER: 'postgres',
      PG_PASSWORD: '',
      PG_DATABASE: 'postgres',
      PG_SSLMODE: 'disable',
    },
    query: (text, values) => client.query(text, values),
    async stop() {
      await client.end()
      server.kill('SIGINT')
      await gone
      fs.rmSync(folder, { recursive: true, force: true })
      process.removeListener('exit', kill)
    },
  }
}

module.exports = { start }
