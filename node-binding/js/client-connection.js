'use strict'

const EventEmitter = require('events')
const { Duplex } = require('stream')
const { parse } = require('./vendor').pgProtocol
const Connection = require('./connection')
const { DatabaseError } = require('./errors')

/** A message's type and length word. */
const HEADER = 5

/**
 * The bytes of one connection while JavaScript speaks the protocol on it, decrypted, with back-pressure both ways. It
 * never ends by itself: the client closes the connection.
 */
class ByteStream extends Duplex {
  constructor(client) {
    super({ allowHalfOpen: true, autoDestroy: false, emitClose: false })
    this._client = client
    this._drained = null
  }

  _read() {
    const { _native, _session } = this._client
    if (_session >= 0) _native.resume(_session)
  }

  _arrived(bytes) {
    const { _native, _session } = this._client
    if (!this.push(bytes) && _session >= 0) _native.pause(_session)
  }

  _write(bytes, encoding, done) {
    const { _native, _session } = this._client
    if (_session < 0 || _native.rawWrite(_session, bytes)) done()
    else this._drained = done
  }

  _drain() {
    const done = this._drained
    this._drained = null
    if (done !== null) done()
  }

  _final(done) {
    this._client._close()
    done()
  }

  setNoDelay() {
    return this
  }

  setKeepAlive() {
    return this
  }

  ref() {
    this._client.ref()
    return this
  }

  unref() {
    this._client.unref()
    return this
  }
}

/**
 * A client's Connection, for Submittables: query objects that speak the protocol themselves (pg-cursor,
 * pg-query-stream, pg-copy-streams). `client.connection` makes it when it is first asked for. It speaks only while such an
 * object is the client's active query; everything else goes through the addon's own protocol machine.
 *
 * Emits every message under its name (`rowDescription`, `noData`, `readyForQuery`, …; errors as `errorMessage`), and
 * `end`.
 */
class ClientConnection extends Connection {
  constructor(client) {
    super({ ssl: client.ssl, sslNegotiation: client.sslNegotiation })
    Object.defineProperty(this, '_client', { enumerable: false, value: client })
    /** pg-protocol's parser listens to this. */
    this._parser = new EventEmitter()
    /** The stream is emptied: what it emits goes back to the addon. */
    this._taking = false
    parse(this._parser, (message) => this._message(message))
    /** What has come of a message that is not whole yet. */
    this._pieces = []
    this._have = 0
    this._need = HEADER
    this._active = false
  }

  get stream() {
    if (this._stream === null) {
      this._stream = new ByteStream(this._client)
      this._stream.on('data', (bytes) => this._data(bytes))
    }
    return this._stream
  }

  // --- from one ReadyForQuery to another -------------------------------------------------------------------------

  /** Takes the connection over from the addon; false when that cannot be. */
  _begin() {
    if (this._active) return true
    const client = this._client
    if (!client._native.rawBegin(client._session)) return false
    this._active = true
    this.stream.resume()
    return true
  }

  /** Gives it back, with what came after the ReadyForQuery. */
  _finish(status) {
    this._active = false
    const client = this._client
    const pieces = this._pieces
    this._restart()
    this._taking = true
    for (let more = this._stream.read(); more !== null; more = this._stream.read()) pieces.push(more)
    this._taking = false
    if (client._session < 0) return
    client._native.rawEnd(client._session, Buffer.concat(pieces), status)
    client._native.resume(client._session)
  }

  _parameter(name, value) {
    this.emit('parameterStatus', { name: 'parameterStatus', parameterName: name, parameterValue: value })
  }

  /** The connection is gone. */
  _ended() {
    this._active = false
    this._restart()
    if (this._stream !== null) this._stream._drain()
    this.emit('end')
  }

  _restart() {
    this._pieces = []
    this._have = 0
    this._need = HEADER
  }

  /** Whole messages go to the parser; what is left waits for the rest of it. */
  _data(bytes) {
    if (this._taking || bytes.length === 0) return
    this._pieces.push(bytes)
    this._have += bytes.length
    if (this._have < this._need) return
    const all = this._pieces.length === 1 ? bytes : Buffer.concat(this._pieces)
    let end = 0
    this._need = HEADER
    while (all.length - end >= HEADER) {
      const length = 1 + all.readUInt32BE(end + 1)
      if (length < HEADER) return this._client._native.destroy(this._client._session)
      if (all.length - end < length) {
        this._need = length
        break
      }
      end += length
    }
    this._pieces = end < all.length ? [all.subarray(end)] : []
    this._have = all.length - end
    if (end === 0) return
    this._parser.emit('data', all.subarray(0, end))
  }

  _message(message) {
    if (message.name === 'error') message = ours(message)
    if (this.listenerCount('message') > 0) this.emit('message', message)
    if (message.name === 'readyForQuery') {
      this._finish(message.status)
      this._client._readyForQuery(message.status.charCodeAt(0))
    } else this._client._foreignMessage(message)
    this.emit(message.name === 'error' ? 'errorMessage' : message.name, message)
  }

  _send(bytes) {
    return this._active ? this.stream.write(bytes) : false
  }

  ref() {
    this._client.ref()
  }

  unref() {
    this._client.unref()
  }

  end() {
    this._client.end()
  }
}

/** The server's error as heys-db's own class. */
function ours(error) {
  const out = new DatabaseError(error.message, error.length, 'error')
  for (const [key, value] of Object.entries(error)) out[key] = value
  return out
}

module.exports = ClientConnection
