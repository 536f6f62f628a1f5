'use strict'

const EventEmitter = require('events')
const Result = require('./result')

/** Tags that the addon names by number (native.d.ts). */
const COMMANDS =
  'SELECT INSERT UPDATE DELETE BEGIN COMMIT ROLLBACK SET COPY FETCH MOVE MERGE CREATE DROP DO CALL'.split(' ')
const SELECT = COMMANDS.indexOf('SELECT')
const INSERT = COMMANDS.indexOf('INSERT')
const UINT32 = 4294967296

/**
 * Rejects with `error` under a stack that shows who awaits it instead of the event loop. V8 finds the awaiting
 * functions only from a microtask that runs after the waiting promise was resolved with this one.
 */
async function rejection(error) {
  await null
  await null
  if (typeof error === 'object' && error !== null && Error.captureStackTrace) Error.captureStackTrace(error)
  throw error
}

/** One query in a client's queue: what to send, what came back, whom to tell. */
class Task {
  constructor() {
    this.text = undefined
    this.values = undefined
    this.name = undefined
    this.rows = undefined
    this.portal = undefined
    this.binary = undefined
    this.queryMode = undefined
    this.rowMode = undefined
    this.types = undefined
    this.callback = undefined
    this.resolve = undefined
    /** The public Query that takes the events, if there is one. */
    this.emitter = undefined
    /** The pool whose query() made this task, and releases the client when it is done. */
    this.pool = undefined
    this.client = undefined

    this.result = undefined
    this.results = undefined
    this.decoder = undefined
    this.accumulates = true
    this.failure = undefined
    this.parserFailure = undefined
    this.parserFailed = false
    /** A callback's first argument when nothing failed. */
    this.success = null
    /** The values as parameters. */
    this.prepared = undefined
    /** The text's number (texts.js); -1: not looked up yet. */
    this.textId = -1
    /** The pool may send others before and behind it on one connection. */
    this.shares = false
    /** Sent, and its READY has not come. */
    this.inFlight = false
    /** How it was answered while it was still in flight. */
    this.early = undefined
    /** A cancel is under way that may hit this one, though it is meant for another before it. */
    this.endangered = false
    /** To be sent again at the next READY. */
    this.repeats = false
    /** Not to be given a name by the addon. */
    this.unnamed = false
    /** By performance.now(); 0 = none. */
    this.deadline = 0
    this.settled = false
  }

  /** Takes query()'s arguments in any of their forms; the caller's object stays as it is. */
  configure(config, values, callback) {
    if (typeof config === 'string') this.text = config
    else this.copy(config)
    if (typeof values === 'function') this.callback = values
    else if (values) this.values = values
    if (callback) this.callback = callback
  }

  copy(config) {
    this.text = config.text
    this.values = config.values
    this.rows = config.rows
    this.types = config.types
    this.name = config.name
    this.queryMode = config.queryMode
    this.binary = config.binary
    this.portal = config.portal
    this.callback = config.callback
    this.rowMode = config.rowMode
  }

  /** Whether the extended protocol is needed. */
  get extended() {
    if (this.queryMode === 'extended' || this.name || this.rows) return true
    return Boolean(this.text && this.values && this.values.length > 0)
  }

  promise(Promise) {
    return new Promise((resolve) => {
      this.resolve = resolve
    })
  }

  /** The result that the next message belongs to: a new one once the current one has its command. */
  current() {
    if (this.result === undefined) this.result = this.results = new Result(this.rowMode, this.types)
    else if (this.result.command) {
      if (!Array.isArray(this.results)) this.results = [this.result]
      this.result = new Result(this.rowMode, this.types)
      this.results.push(this.result)
    }
    return this.result
  }

  shape(shape) {
    if (this.settled) return
    const result = this.current()
    result.fields = shape.fields.slice()
    if (this.emitter !== undefined) {
      this.accumulates = Boolean(this.callback || this.resolve) || this.emitter.listenerCount('row') === 0
    }
    try {
      this.decoder = shape.decoder(result.rowAsArray, this.types)
    } catch (error) {
      this.parserFailed = true
      this.parserFailure = error
    }
  }

  batch(words, at, rows, hold, text) {
    if (this.settled || this.parserFailed) return
    if (this.emitter !== undefined) return this.emitRows(words, at, rows, hold, text)
    this.decode(words, at, rows, hold, text, this.result.rows)
  }

  decode(words, at, rows, hold, text, out) {
    try {
      this.decoder.decode(words, at, rows, hold, text, out)
    } catch (error) {
      this.parserFailed = true
      this.parserFailure = error
    }
  }

  emitRows(words, at, rows, hold, text) {
    const batch = []
    this.decode(words, at, rows, hold, text, batch)
    for (const row of batch) {
      this.emitter.emit('row', row, this.result)
      if (this.accumulates) this.result.rows.push(row)
    }
  }

  /** CommandComplete by command number and count, or by its tag. */
  complete(command, high, low, tag) {
    if (this.settled) return
    const result = this.current()
    if (command < 0) {
      result.addCommandComplete({ text: tag })
      return
    }
    result.command = COMMANDS[command]
    if (high >= 0) result.rowCount = high * UINT32 + (low >>> 0)
    // Where rows are asked for in portions, the tag is the last portion's.
    if (this.rows > 0 && command === SELECT) result.rowCount %= this.rows
    // INSERT's tag has an oid before the count; servers since PostgreSQL 12 always say 0.
    if (command === INSERT) result.oid = 0
  }

  /** The server is ready for the next query: this one is over. */
  finish() {
    if (this.settled) return
    if (this.parserFailed) return this.settle(this.parserFailure, undefined)
    if (this.failure !== undefined) return this.settle(this.failure, undefined)
    if (this.result === undefined) this.current()
    this.settle(undefined, this.results)
  }

  fail(error) {
    if (this.settled) return
    this.settle(this.parserFailed ? this.parserFailure : error, undefined, true)
  }

  settle(error, results, failed = error !== undefined) {
    this.settled = true
    if (this.pool !== undefined) this.pool._queryDone(this, error, failed)
    if (this.resolve !== undefined) this.resolve(failed ? rejection(error) : results)
    else if (this.callback) this.call(failed ? error : this.success, results)
    else if (failed && this.emitter !== undefined) this.emitter.emit('error', error)
    if (!failed && this.emitter !== undefined) this.emitter.emit('end', results)
  }

  call(error, results) {
    try {
      // A failure comes alone, as node-postgres calls it.
      if (error !== null && error !== undefined) this.callback(error)
      else this.callback(error, results)
    } catch (thrown) {
      process.nextTick(() => {
        throw thrown
      })
    }
  }
}

/** node-postgres's Query: a query with events `row`, `end` and `error`, given to client.query(). */
class Query extends EventEmitter {
  constructor(config, values, callback) {
    super()
    const task = new Task()
    task.configure(config, values, callback)
    this.text = task.text
    this.values = task.values
    this.rows = task.rows
    this.types = task.types
    this.name = task.name
    this.queryMode = task.queryMode
    this.binary = task.binary
    this.portal = task.portal || ''
    this.callback = task.callback
    this._rowMode = task.rowMode
  }

  requiresPreparation() {
    return this._task().extended
  }

  /** Marks this as something that client.query() takes as it is. Only a heys-db client can run it. */
  submit() {
    return new Error('A heys-db Query runs on a heys-db client only: call client.query(query)')
  }

  _task() {
    const task = new Task()
    task.copy(this)
    task.rowMode = this._rowMode
    task.emitter = this
    return task
  }
}

module.exports = { Task, Query, rejection }
