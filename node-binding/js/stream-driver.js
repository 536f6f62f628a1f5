'use strict'

const net = require('net')
const driver = require('./driver')
const Connection = require('./connection')

/** A Connection whose bytes go to the addon as they are. */
class Bytes extends Connection {
  attachListeners() {}
}

/** A socket for one end of a pair. Bun takes a descriptor in connect() alone. */
function socketOf(fd) {
  if (process.versions.bun) return new net.Socket({ allowHalfOpen: true }).connect({ fd })
  return new net.Socket({ fd, readable: true, writable: true, allowHalfOpen: true })
}

/**
 * Serves a client's session over a Duplex instead of a socket of the addon's own: pg's `stream` and `connection` options,
 * and TLS options that only Node's tls knows. Decrypted bytes pass between the Duplex and the addon through a pair of
 * sockets, with back-pressure both ways.
 */
class StreamDriver {
  /** `options`: of the Client. `stream` as a function makes a new stream for each connection and cancel. */
  constructor(client, options) {
    this.client = client
    this.config = {
      stream: options.stream,
      ssl: client.ssl,
      sslNegotiation: client.sslNegotiation,
      keepAlive: options.keepAlive || false,
      keepAliveInitialDelayMillis: options.keepAliveInitialDelayMillis || 0,
    }
    this.renewable = !options.connection && (!options.stream || typeof options.stream === 'function')
    this.connection = options.connection || new Bytes(this.config)
    /** What went wrong with the stream. */
    this.error = undefined
    this.near = null
    this.timer = null
    // As in node-postgres: the stream is made, or asked for, together with the client.
    void this.connection.stream
  }

  /** Connects, then logs in with ConnectOptions that `login` gives. */
  open(login) {
    const { client, connection } = this
    const { _connectionTimeoutMillis: limit } = client
    if (limit > 0 && client._pool === null) {
      this.timer = setTimeout(() => this.fail(new Error('timeout expired')), limit)
    }
    this.start(connection, () => this.bridge(login))
    connection.on('error', (error) => this.fail(error))
    connection.on('end', () => this.closed())
  }

  /** Connects, encrypts where it is asked for, and calls back when bytes may be sent. */
  start(connection, ready) {
    const { host, port, ssl, sslNegotiation } = this.client
    connection.once('connect', () => {
      if (!ssl) ready()
      else if (sslNegotiation !== 'direct') connection.requestSsl()
    })
    connection.once('sslconnect', ready)
    if (host && host.startsWith('/')) connection.connect(`${host}/.s.PGSQL.${port}`)
    else connection.connect(port, host)
  }

  bridge(login) {
    const { client, connection } = this
    if (client._ended) return
    const { stream } = connection
    try {
      const { id, fd } = driver.connectOver(client, login())
      client._request = id
      this.near = socketOf(fd)
    } catch (error) {
      this.fail(error)
      return
    }
    // The addon closed its end first: nothing more is wanted of the server.
    this.near.on('error', () => stream.destroy())
    this.near.pipe(stream)
    stream.pipe(this.near)
    if (!client._refed) this.unref()
  }

  opened() {
    clearTimeout(this.timer)
  }

  fail(error) {
    if (this.error === undefined) this.error = error
    this.connection.stream.destroy()
    this.closed()
  }

  closed() {
    clearTimeout(this.timer)
    if (this.near !== null) this.near.end()
    else if (!this.client._ended) this.client._lost(this.error)
  }

  /** The client is ended before it was connected. */
  abort() {
    if (this.near === null) this.connection.stream.destroy()
    else this.client._native.abortConnect(this.client._request)
    if (this.near === null) this.closed()
  }

  /** Cancels what the session runs over a stream of its own; `done` when the server has closed that. */
  cancel(done) {
    const { client } = this
    if (!this.renewable) {
      client._native.destroy(client._session)
      done()
      return
    }
    const connection = new Bytes(this.config)
    let over = false
    const finish = () => {
      if (!over) done()
      over = true
    }
    connection.on('error', finish)
    connection.on('end', finish)
    this.start(connection, () => {
      connection.cancel(client.processID, client.secretKey)
      connection.stream.resume()
    })
  }

  ref() {
    for (const stream of [this.near, this.connection.stream]) if (stream && stream.ref) stream.ref()
  }

  unref() {
    for (const stream of [this.near, this.connection.stream]) if (stream && stream.unref) stream.unref()
  }
}

module.exports = StreamDriver
