'use strict'
/**
 * Starts heys-sandbox from Node and talks to it. Development only.
 *
 *   const { startSandbox } = require('../sandbox/client')
 *   const sb = await startSandbox({ postgres: true, s3: true, telegram: true, proxy: true })
 *   … sb.pg.port, sb.s3.endpoint, sb.env(), await sb.pg.restart({ mode: 'kill' }) …
 *   await sb.stop()
 *
 * A part is `true` or an object with its options (their names are those of the Rust structs in camelCase).
 * Everything ends with this process, however it ends.
 */
const { spawn } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const readline = require('node:readline')

const ROOT = path.join(__dirname, '..')
const PARTS = ['postgres', 's3', 'telegram', 'proxy']
/** Milliseconds; a cold machine may need some seconds for initdb. */
const START_TIMEOUT = 120000

/** The verbs of each part; each becomes an async method that takes an object of arguments. */
const VERBS = {
  postgres: ['stop', 'start', 'restart', 'sql', 'log'],
  s3: [
    'fault',
    'clearFaults',
    'faults',
    'configure',
    'objects',
    'uploads',
    'requests',
    'clearRequests',
    'waitForRequests',
    'putObject',
    'putUpload',
    'getObject',
    'saveObject',
    'deleteObject',
    'clear',
  ],
  telegram: ['messages', 'answer', 'clear', 'waitForMessages'],
  proxy: ['cut', 'stall', 'resume', 'delay', 'cutAfter', 'refuse', 'accept', 'stats', 'waitFor', 'target', 'close'],
}

function targetFolder() {
  const set = process.env.CARGO_TARGET_DIR
  return set ? path.resolve(ROOT, set) : path.join(ROOT, 'target')
}

/** The newest of the debug and the release build, unless HEYS_SANDBOX_BIN names one. */
function findBinary() {
  if (process.env.HEYS_SANDBOX_BIN) return process.env.HEYS_SANDBOX_BIN
  const found = ['debug', 'release']
    .map((profile) => path.join(targetFolder(), profile, 'heys-sandbox'))
    .filter((file) => fs.existsSync(file))
    .sort((a, b) => fs.statSync(b).mtimeMs - fs.statSync(a).mtimeMs)
  if (found.length > 0) return found[0]
  throw new Error(
    `heys-sandbox is not built (looked in ${targetFolder()}): run npm run build, or cargo build -p heys-sandbox`,
  )
}

async function startSandbox(options = {}) {
  const config = {}
  for (const [part, value] of Object.entries(options)) {
    if (!PARTS.includes(part))
      throw new TypeError(`unknown part of the sandbox: ${part} (there are ${PARTS.join(', ')})`)
    if (value) config[part] = value === true ? {} : value
  }
  const child = spawn(findBinary(), ['--config', JSON.stringify(config)], {
    stdio: ['pipe', 'pipe', 'pipe'],
    // A Ctrl-C is this process's to handle; the sandbox sees its input end.
    detached: true,
  })
  return new Connection(child).start()
}

/** The child process, and the commands that wait for their answer. */
class Connection {
  constructor(child) {
    this.child = child
    this.waiting = new Map()
    this.nextId = 1
    this.stderr = ''
    child.stderr.setEncoding('utf8').on('data', (text) => (this.stderr = (this.stderr + text).slice(-65536)))
    // A write to a sandbox that has ended; its exit tells more.
    child.stdin.on('error', () => {})
    this.exited = new Promise((resolve) => {
      child.on('error', (error) => resolve(`cannot start ${child.spawnfile}: ${error.message}`))
      child.on('close', (code, signal) => resolve(this.stderr.trim() || `heys-sandbox ended (${signal || code})`))
    })
    this.exited.then((reason) => {
      this.reason = reason
      for (const { reject } of this.waiting.values()) reject(new Error(reason))
      this.waiting.clear()
    })
  }

  async start() {
    const lines = readline.createInterface({ input: this.child.stdout })
    const first = new Promise((resolve) => lines.once('line', resolve))
    let timer
    const late = new Promise((resolve) => (timer = setTimeout(resolve, START_TIMEOUT)))
    const outcome = await Promise.race([
      first.then((line) => ({ line })),
      this.exited.then((reason) => ({ reason })),
      late.then(() => ({ reason: `heys-sandbox was not ready after ${START_TIMEOUT} ms` })),
    ])
    clearTimeout(timer)
    if (outcome.reason) {
      this.child.kill()
      throw new Error(outcome.reason)
    }
    lines.on('line', (line) => this.answer(JSON.parse(line)))
    this.settle()
    return new Sandbox(this, JSON.parse(outcome.line))
  }

  command(command, args = {}) {
    if (this.reason) return Promise.reject(new Error(this.reason))
    return new Promise((resolve, reject) => {
      const id = this.nextId++
      this.waiting.set(id, { resolve, reject })
      this.settle()
      this.child.stdin.write(JSON.stringify({ id, command, arguments: args }) + '\n')
    })
  }

  answer({ id, result, error }) {
    const waiting = this.waiting.get(id)
    if (!waiting) return
    this.waiting.delete(id)
    this.settle()
    if (error === undefined) waiting.resolve(result)
    else waiting.reject(new Error(error))
  }

  /** An idle sandbox does not keep Node alive; one with a command under way does. */
  settle() {
    const verb = this.waiting.size > 0 ? 'ref' : 'unref'
    for (const handle of [this.child, this.child.stdin, this.child.stdout, this.child.stderr]) handle[verb]()
  }

  async stop() {
    for (const handle of [this.child, this.child.stdout, this.child.stderr]) handle.ref()
    this.child.stdin.end()
    await this.exited
  }
}

class Sandbox {
  #connection
  constructor(connection, info) {
    this.#connection = connection
    this.pid = connection.child.pid
    const part = (name) => info[name] && Object.assign(info[name], verbs(connection, name))
    this.pg = part('postgres')
    this.s3 = part('s3')
    this.telegram = part('telegram')
    this.proxy = part('proxy')
    if (this.s3) wrapBytes(this.s3)
    if (this.proxy) {
      this.proxy.listen = async (args) => {
        const made = await connection.command('proxy.listen', args)
        return Object.assign(made, verbs(connection, 'proxy', { proxy: made.proxy }))
      }
    }
  }

  /** Any command by its name: `part.verb`. */
  command(name, args) {
    return this.#connection.command(name, args)
  }

  /** The environment of getPool and runBackup for what was started. */
  env() {
    const env = {}
    if (this.pg) {
      env.PG_HOST = this.pg.host
      env.PG_PORT = String(this.pg.port)
      env.PG_DATABASE = this.pg.database
      env.PG_USER = this.pg.user
      env.PG_PASSWORD = this.pg.password
      env.PG_SSLMODE = this.pg.ssl ? 'verify-full' : 'disable'
      env.PG_SSLROOTCERT = this.pg.caPath
      env.PG_DUMP_PATH = path.join(this.pg.binDir, 'pg_dump')
    }
    if (this.s3) {
      env.S3_ENDPOINT = this.s3.endpoint
      env.S3_REGION = this.s3.region
      env.S3_BUCKET = this.s3.bucket
      env.S3_ACCESS_KEY_ID = this.s3.accessKeyId
      env.S3_SECRET_ACCESS_KEY = this.s3.secretAccessKey
    }
    if (this.telegram) {
      env.TELEGRAM_API_BASE = this.telegram.apiBase
      env.TELEGRAM_BOT_TOKEN = this.telegram.token
      env.TELEGRAM_CHAT_ID = this.telegram.chatId
    }
    // One CA signs for all of them.
    const caPath = this.s3?.caPath || this.telegram?.caPath
    if (caPath) env.AWS_CA_BUNDLE = caPath
    return env
  }

  /** Stops everything; resolves when nothing is left. */
  stop() {
    return this.#connection.stop()
  }
}

function verbs(connection, part, fixed) {
  const methods = {}
  for (const verb of VERBS[part]) {
    methods[verb] = (args) => connection.command(`${part}.${verb}`, { ...args, ...fixed })
  }
  return methods
}

/** Bodies travel as base64 and times as milliseconds; here they are Buffers, and Dates or milliseconds. */
function wrapBytes(s3) {
  const { putObject, putUpload, getObject } = s3
  const millis = (time) => (time === undefined ? undefined : Number(time))
  s3.putObject = ({ key, body = '', modified }) =>
    putObject({ key, body: Buffer.from(body).toString('base64'), modified: millis(modified) })
  s3.putUpload = ({ key, initiated }) => putUpload({ key, initiated: millis(initiated) })
  s3.getObject = async (args) => Buffer.from(await getObject(args), 'base64')
}

module.exports = { startSandbox, findBinary }
