'use strict'

const EventEmitter = require('events')
const vendor = require('./vendor')

let loaded

/** pg-protocol, from the first message on. */
function protocol() {
  if (loaded === undefined) loaded = vendor.pgProtocol
  return loaded
}

/**
 * node-postgres's Connection: the protocol's messages over a Duplex, and the way there (TCP or unix socket, SSLRequest,
 * TLS by Node). Emits `connect`, `sslconnect`, `error`, `end`, and each message of the server under its name (errors as
 * `errorMessage`). A client has one of its own kind (client-connection.js). `import` makes this class, too: what it
 * needs to connect comes when it does.
 */
class Connection extends EventEmitter {
  constructor(config) {
    super()
    const { ssl, sslNegotiation, keepAlive, keepAliveInitialDelayMillis } = config || {}
    Object.defineProperty(this, '_config', { enumerable: false, value: config || {} })
    this._stream = null
    this._keepAlive = keepAlive
    this._keepAliveInitialDelayMillis = keepAliveInitialDelayMillis
    this.parsedStatements = {}
    this.submittedNamedStatements = {}
    this.ssl = ssl || false
    this.sslNegotiation = sslNegotiation || 'postgres'
    this._ending = false
  }

  get stream() {
    if (this._stream === null) {
      const { stream } = this._config
      this._stream = typeof stream === 'function' ? stream(this._config) : stream || new (require('net').Socket)()
    }
    return this._stream
  }

  set stream(stream) {
    this._stream = stream
  }

  connect(port, host) {
    const { stream } = this
    this._connecting = true
    if (stream.setNoDelay) stream.setNoDelay(true)
    stream.connect(port, host)
    stream.once('connect', () => {
      if (this._keepAlive) stream.setKeepAlive(true, this._keepAliveInitialDelayMillis)
      this.emit('connect')
    })
    stream.on('error', (error) => this._failed(error))
    stream.on('close', () => this.emit('end'))
    if (!this.ssl) this.attachListeners(stream)
    else if (this.sslNegotiation === 'direct') stream.once('connect', () => this.upgradeToSSL(host))
    else stream.once('data', (answer) => this._answered(answer, host))
  }

  /** Errors of a connection that is being left say nothing. */
  _failed(error) {
    if (!this._ending || (error.code !== 'ECONNRESET' && error.code !== 'EPIPE')) this.emit('error', error)
  }

  /** The answer to SSLRequest is one byte; what came with it could not be trusted (CVE-2021-23222). */
  _answered(answer, host) {
    const text = answer.toString('latin1')
    if (text === 'S') return this.upgradeToSSL(host)
    this.stream.end()
    const refused = 'The server does not support SSL connections'
    this.emit('error', new Error(text === 'N' ? refused : 'There was an error establishing an SSL connection'))
  }

  upgradeToSSL(host) {
    const options = { socket: this.stream, host }
    if (this.ssl !== true) {
      Object.assign(options, this.ssl)
      // Not enumerable, so that it is not printed.
      if ('key' in this.ssl) options.key = this.ssl.key
    }
    if (this.sslNegotiation === 'direct') options.ALPNProtocols = ['postgresql']
    // RFC 6066, section 3: no addresses.
    if (require('net').isIP(host) === 0) options.servername = host
    try {
      this.stream = require('tls').connect(options)
    } catch (error) {
      this.emit('error', error)
      return
    }
    this.attachListeners(this.stream)
    this.stream.on('error', (error) => this._failed(error))
    this.emit('sslconnect')
  }

  attachListeners(stream) {
    protocol().parse(stream, (message) => {
      if (this.listenerCount('message') > 0) this.emit('message', message)
      this.emit(message.name === 'error' ? 'errorMessage' : message.name, message)
    })
  }

  // --- what can be sent -------------------------------------------------------------------------------------------

  _send(bytes) {
    return this.stream.writable ? this.stream.write(bytes) : false
  }

  requestSsl() {
    return this._send(protocol().serialize.requestSsl())
  }

  startup(config) {
    return this._send(protocol().serialize.startup(config))
  }

  cancel(processID, secretKey) {
    return this._send(protocol().serialize.cancel(processID, secretKey))
  }

  password(password) {
    return this._send(protocol().serialize.password(password))
  }

  sendSASLInitialResponseMessage(mechanism, initialResponse) {
    return this._send(protocol().serialize.sendSASLInitialResponseMessage(mechanism, initialResponse))
  }

  sendSCRAMClientFinalMessage(additionalData) {
    return this._send(protocol().serialize.sendSCRAMClientFinalMessage(additionalData))
  }

  query(text) {
    return this._send(protocol().serialize.query(text))
  }

  parse(query) {
    return this._send(protocol().serialize.parse(query))
  }

  bind(config) {
    return this._send(protocol().serialize.bind(config))
  }

  describe(message) {
    return this._send(protocol().serialize.describe(message))
  }

  execute(config) {
    return this._send(protocol().serialize.execute(config))
  }

  close(message) {
    return this._send(protocol().serialize.close(message))
  }

  flush() {
    return this._send(protocol().serialize.flush())
  }

  sync() {
    return this._send(protocol().serialize.sync())
  }

  sendCopyFromChunk(chunk) {
    return this._send(protocol().serialize.copyData(chunk))
  }

  endCopyFrom() {
    return this._send(protocol().serialize.copyDone())
  }

  sendCopyFail(message) {
    return this._send(protocol().serialize.copyFail(message))
  }

  ref() {
    this.stream.ref()
  }

  unref() {
    this.stream.unref()
  }

  end() {
    this._ending = true
    if (!this._connecting || !this.stream.writable) {
      this.stream.end()
      return
    }
    this.stream.write(protocol().serialize.end(), () => this.stream.end())
  }
}

module.exports = Connection
