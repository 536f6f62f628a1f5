'use strict'

const { Task, rejection } = require('./query')

/** Rows kept before the socket is left alone; the batch that goes past it is kept whole (at most 256 KB of messages). */
const ENOUGH = 256

/** A query whose rows are taken one by one. */
class StreamTask extends Task {
  constructor(stream) {
    super()
    this.stream = stream
  }

  batch(words, at, rows, hold, text) {
    if (this.settled || this.parserFailed || this.stream.left) return
    this.decode(words, at, rows, hold, text, this.stream.rows)
    this.stream.arrived()
  }

  settle(error, results, failed = error !== undefined) {
    this.settled = true
    this.stream.ended(failed ? error : undefined)
  }
}

/**
 * The rows of one query as an async iterator, with bounded memory: the socket is read as far as rows are taken. The query
 * is sent at the first `next()`. Leaving early (`break`, `return()`) cancels the statement on the server; the client
 * takes its next query when that has ended.
 */
class RowStream {
  constructor(client, config, values) {
    this.client = client
    this.task = new StreamTask(this)
    this.task.configure(config, values, undefined)
    this.timeout = config.query_timeout
    this.rows = []
    this.taken = 0
    this.paused = false
    this.started = false
    this.left = false
    this.done = false
    this.error = undefined
    this.waiting = undefined
    this.end = new Promise((resolve) => {
      this.atEnd = resolve
    })
  }

  [Symbol.asyncIterator]() {
    return this
  }

  async next() {
    if (!this.started) this.start()
    for (;;) {
      if (this.taken < this.rows.length) return { value: this.rows[this.taken++], done: false }
      if (this.left || (this.done && this.error === undefined)) return { value: undefined, done: true }
      if (this.done) {
        const { error } = this
        this.error = undefined
        return rejection(error)
      }
      this.rows = []
      this.taken = 0
      this.pause(false)
      await new Promise((resolve) => {
        this.waiting = resolve
      })
    }
  }

  /** What `break` calls: the statement is cancelled, and its end awaited. */
  async return(value) {
    if (!this.started) this.started = this.left = this.done = true
    if (!this.done) {
      this.left = true
      this.rows = []
      this.taken = 0
      if (this.client._active === this.task) this.client._cancelActive()
      else this.client._drop(this.task)
      this.pause(false)
      await this.end
    }
    this.left = true
    return { value, done: true }
  }

  async throw(error) {
    await this.return()
    throw error
  }

  start() {
    this.started = true
    this.client._enqueue(this.task, this.timeout)
  }

  arrived() {
    if (this.rows.length - this.taken >= ENOUGH) this.pause(true)
    this.wake()
  }

  ended(error) {
    this.pause(false)
    this.done = true
    this.error = this.left ? undefined : error
    this.atEnd()
    this.wake()
  }

  pause(paused) {
    if (this.paused === paused || this.done) return
    const { _native, _session } = this.client
    this.paused = paused
    if (_session < 0) return
    if (paused) _native.pause(_session)
    else _native.resume(_session)
  }

  wake() {
    const resolve = this.waiting
    this.waiting = undefined
    if (resolve !== undefined) resolve()
  }
}

module.exports = { RowStream }
