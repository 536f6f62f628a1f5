'use strict'

const { Readable, Writable } = require('stream')

/** COPY as Node streams: Submittables of our own (protocol chapter 55.2.6). */

const COUNT = /^COPY (\d+)/

/** What `COPY … TO STDOUT` sends. Destroyed early, it cancels the statement on the server. */
class CopyTo extends Readable {
  constructor(client, text) {
    super()
    this._client = client
    this.text = text
    /** Rows copied, once it has ended. */
    this.rowCount = undefined
    this._connection = null
    this._over = null
  }

  submit(connection) {
    this._connection = connection
    if (this.destroyed) return new Error('The stream was destroyed')
    connection.query(this.text)
    return undefined
  }

  _read() {
    if (this._connection !== null) this._connection.stream.resume()
  }

  handleCopyData({ chunk }) {
    if (!this.destroyed && !this.push(chunk)) this._connection.stream.pause()
  }

  handleCopyInResponse(connection) {
    connection.sendCopyFail('copyTo() wants a COPY … TO STDOUT')
  }

  handleRowDescription() {}

  handleDataRow() {}

  handleEmptyQuery() {}

  handleCommandComplete({ text }) {
    const count = COUNT.exec(text)
    if (count !== null) this.rowCount = Number(count[1])
  }

  handleError(error) {
    this._connection = null
    if (this._over !== null) this._over()
    else this.destroy(error)
  }

  handleReadyForQuery() {
    this._connection = null
    if (this._over !== null) this._over()
    else this.push(null)
  }

  _destroy(error, done) {
    if (this._connection === null) return done(error)
    this._over = () => done(error)
    this._client.cancel(this._client, this)
    this._connection.stream.resume()
  }
}

/** What `COPY … FROM STDIN` takes. Finished when the server has stored everything; destroyed early, nothing is stored. */
class CopyFrom extends Writable {
  constructor(client, text) {
    super()
    this._client = client
    this.text = text
    /** Rows copied, once it has finished. */
    this.rowCount = undefined
    this._connection = null
    /** What waits for the server's CopyInResponse. */
    this._begin = null
    this._ready = false
    this._over = null
    this._failure = undefined
  }

  submit(connection) {
    this._connection = connection
    if (this.destroyed) return new Error('The stream was destroyed')
    connection.query(this.text)
    return undefined
  }

  _whenReady(action) {
    if (this._ready) action()
    else this._begin = action
  }

  _write(chunk, encoding, done) {
    this._whenReady(() => this._send(chunk, done))
  }

  _send(chunk, done) {
    if (this._connection.sendCopyFromChunk(chunk)) done()
    else this._connection.stream.once('drain', done)
  }

  _final(done) {
    this._over = done
    this._whenReady(() => this._connection.endCopyFrom())
  }

  handleCopyInResponse() {
    this._ready = true
    const action = this._begin
    this._begin = null
    if (action !== null) action()
  }

  handleCopyData() {}

  handleRowDescription() {}

  handleDataRow() {}

  handleEmptyQuery() {}

  handleCommandComplete({ text }) {
    const count = COUNT.exec(text)
    if (count !== null) this.rowCount = Number(count[1])
  }

  handleError(error) {
    this._connection = null
    const over = this._over
    if (over !== null) over(error)
    else this.destroy(error)
  }

  handleReadyForQuery() {
    this._connection = null
    if (this._over !== null) this._over()
    else this.destroy(new Error('copyFrom() wants a COPY … FROM STDIN'))
  }

  _destroy(error, done) {
    const connection = this._connection
    if (connection === null) return done(error)
    this._over = () => done(error)
    this._whenReady(() => connection.sendCopyFail((error && error.message) || 'the stream was destroyed'))
  }
}

module.exports = { CopyTo, CopyFrom }
