'use strict'

/**
 * The environment's one door to the addon: sessions, connection attempts and cancel requests by number, and the hooks
 * through which the addon answers.
 */

/** Room for records: at least one row of 1,664 columns, PostgreSQL's limit, and much more than one batch. */
const WORDS = 32768

const words = new Int32Array(WORDS)
const sessions = []
const shapes = []
const attempts = new Map()
const cancels = new Map()
/** Pools that share their limit with other threads. */
const sharing = new Map()
/** An ended pool still answers for its numbers; its machine goes with it. */
const machines = new FinalizationRegistry((id) => native.poolFree(id))
let nextRequest = 1
let native
let prepared = false

function request() {
  const id = nextRequest
  nextRequest = nextRequest === 0x7fffffff ? 1 : nextRequest + 1
  return id
}

const hooks = {
  onConnect(id, session, pid, key, params, notices) {
    const client = attempts.get(id)
    attempts.delete(id)
    sessions[session] = client
    client._opened(session, pid, key, params, notices)
  },
  onConnectError(id, raw) {
    const client = attempts.get(id)
    attempts.delete(id)
    client._openFailed(raw)
  },
  onPassword(id) {
    const client = attempts.get(id)
    if (client !== undefined) client._askPassword()
  },
  onRecords(session, length, text, extra) {
    sessions[session]._records(words, length, text, extra)
  },
  onShape(id, fields) {
    const { Shape } = require('./decode')
    const shape = new Shape(fields)
    shapes[id] = shape
    return shape.kinds
  },
  onCancelled(id, raw) {
    const done = cancels.get(id)
    cancels.delete(id)
    if (done !== undefined) done(raw)
  },
  onRaw(session, bytes) {
    sessions[session]._connection.stream._arrived(bytes)
  },
  onPool(id, length) {
    const pool = sharing.get(id)
    if (pool !== undefined) pool._act(length)
  },
}

/** The addon, loaded and initialised at first use. */
function load() {
  if (native === undefined) {
    const addon = require('./addon').load()
    // Bun's loop is not libuv: it has no uv_poll, and ends the process when that is called.
    addon.init(hooks, words, process.versions.bun === undefined)
    native = addon
  }
  return native
}

/** Starts connecting; the number names the attempt for `password` and `abortConnect`. */
function connect(client, options) {
  const addon = load()
  const id = request()
  attempts.set(id, client)
  try {
    addon.connect(id, options)
  } catch (error) {
    attempts.delete(id)
    throw error
  }
  if (!prepared) {
    prepared = true
    // Behind the caller's own code, while the server makes its process. Fake timers do not hold a promise up.
    Promise.resolve().then(() => require('./decode').prepare())
  }
  return id
}

/** As connect() over a stream: also returns the descriptor that speaks for the server. */
function connectOver(client, options) {
  const addon = load()
  const id = request()
  attempts.set(id, client)
  return { id, fd: addon.connectOver(id, options) }
}

/** Asks the server to cancel what `session` runs; `done(rawError)` when the server has closed the cancel connection. */
function cancel(session, done) {
  const id = request()
  cancels.set(id, done)
  native.cancel(id, session)
}

/** Forgets a closed session: its number may come again. */
function forget(session) {
  sessions[session] = undefined
}

module.exports = { words, shapes, sharing, machines, load, connect, connectOver, cancel, forget, request }
