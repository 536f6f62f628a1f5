'use strict'

const EventEmitter = require('events')
const driver = require('./driver')
const defaults = require('./defaults')
const utils = require('./utils')
const ConnectionParameters = require('./parameters')
const { differences } = require('./differences')
const { speed } = require('./speed')
const texts = require('./texts')
const { NotificationResponseMessage, fromRaw, noticeFromRaw } = require('./errors')
const { Task, Query } = require('./query')
const { prepareValues } = require('./values')

/** Record kinds and flags (native.d.ts). */
const SHAPE = 0
const ROWS = 1
const COMPLETE = 2
const EMPTY = 3
const ERROR = 4
const READY = 5
const NOTICE = 6
const NOTIFY = 7
const PARAMETER = 8
const PARSED = 13
const CLOSED = 14
const DRAINED = 15
const REPEAT = 16
const BINARY = 2
const SHARED = 4
const SIMPLE = 32

/** SQLSTATE query_canceled. */
const QUERY_CANCELED = '57014'
/** Single statements that cannot commit by themselves before they have ended. */
const MAY_RESTART = /^\s*(select|insert|update|delete|with|values|merge|table)\b/i

/** How long a cancelled statement may take to end before its connection is given up. */
const CANCEL_MILLIS = 5000
/** The server ignores a cancel that comes before it has begun with the statement. Another follows after this, the next after four times as long, and so on. */
const CANCEL_AGAIN_MILLIS = 50
/** RFC 7677 asks for at least 4096; a hostile server could ask for billions. */
const SCRAM_MAX_ITERATIONS = 100000

/** Loaded with the first result. */
let types
const numbersTaken = () => (types ||= require('./types')).numbersTaken()

const NO_PASSWORD = 'SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a string'

function finiteOr(value, fallback) {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value
  return typeof number === 'number' && Number.isFinite(number) ? number : fallback
}

function rethrowLater(error) {
  process.nextTick(() => {
    throw error
  })
}

/** One connection to PostgreSQL, as node-postgres's Client. */
class Client extends EventEmitter {
  constructor(config) {
    super()
    const options = config && typeof config === 'object' ? config : {}
    const parameters = new ConnectionParameters(config)
    this.connectionParameters = parameters
    this.user = parameters.user
    this.database = parameters.database
    this.port = parameters.port
    this.host = parameters.host
    Object.defineProperty(this, 'password', {
      configurable: true,
      enumerable: false,
      writable: true,
      value: parameters.password,
    })
    this.replication = parameters.replication
    this.ssl = parameters.ssl || false
    this.sslNegotiation = parameters.sslnegotiation || 'postgres'
    this.enableChannelBinding = Boolean(options.enableChannelBinding)
    this.scramMaxIterations = finiteOr(options.scramMaxIterations, SCRAM_MAX_ITERATIONS)
    this.pipeline = Boolean(options.pipeline)
    this.binary = options.binary || defaults.binary
    this.processID = null
    this.secretKey = null

    this._Promise = options.Promise || Promise
    this._userTypes = options.types
    this._overrides = null
    this._keepAliveMillis = options.keepAlive ? options.keepAliveInitialDelayMillis || 0 : undefined
    this._connectionTimeoutMillis = options.connectionTimeoutMillis || 0
    /** Serves this client where the addon's own socket cannot. */
    this._driver = null
    /** getPool's clients: ConnectOptions made by the addon from the environment. */
    Object.defineProperty(this, '_connectOptions', { enumerable: false, value: options.heysConnect })
    this._differences = differences(options)
    this._speed = speed(options)

    this._native = null
    this._session = -1
    this._request = -1
    this._started = false
    this._connecting = false
    this._connected = false
    this._connectionError = false
    this._connectionCallback = null
    this._passwordError = null
    this._queryable = true
    this._ending = false
    this._ended = false
    this._endCallbacks = []
    this._refed = true

    this._ready = false
    this._hasExecuted = false
    this._active = null
    this._queue = []
    /** pipeline: queries on the wire behind the active one. */
    this._sent = []
    /** Cancel requests whose end has not been seen: nothing may be sent, the cancel could hit it. */
    this._cancels = 0
    this._txStatus = null
    this._statements = null
    this._timer = null
    this._timerAt = 0

    Object.defineProperty(this, '_connection', { enumerable: false, writable: true, value: null })
    if (options.stream || options.connection || !require('./tls').isExpressible(parameters)) {
      this._driver = new (require('./stream-driver'))(this, options)
    }

    /** Set by our own pool. */
    this._pool = null
    this._conn = -1
    this._whenQuiet = null
  }

  // --- connecting -------------------------------------------------------------------------------------------------

  connect(callback) {
    if (callback) {
      this._connect(callback)
      return undefined
    }
    return new this._Promise((resolve, reject) => {
      this._connect((error) => (error ? reject(error) : resolve(this)))
    })
  }

  _connect(callback) {
    if (this._connecting || this._connected || this._started) {
      const error = new Error('Client has already been connected. You cannot reuse a client.')
      process.nextTick(callback, error)
      return
    }
    this._connectionCallback = callback
    this._connecting = true
    this._started = true
    try {
      this._native = driver.load()
      if (this._driver !== null) this._driver.open(() => this._over())
      else this._request = driver.connect(this, this._connectOptions ? this._shared() : this._own())
    } catch (error) {
      process.nextTick(() => this._lost(error))
    }
  }

  /** ConnectOptions of node-postgres's options. */
  _own() {
    const parameters = this.connectionParameters
    const out = {
      hosts: [{ host: this.host, port: this.port }],
      database: this.database === undefined ? '' : String(this.database),
      user: this.user === undefined ? '' : String(this.user),
      params: parameters.startup(),
      channelBinding: this.enableChannelBinding,
      scramMaxIterations: this.scramMaxIterations,
      ...(this._driver === null ? require('./tls').tlsOptions(parameters) : { trust: 'given' }),
    }
    if (typeof this.password === 'string') out.password = this.password
    // A pool's clients are timed by the pool, which counts the wait in its queue, too.
    if (this._connectionTimeoutMillis > 0 && this._pool === null)
      out.connectTimeoutMillis = this._connectionTimeoutMillis
    if (this._keepAliveMillis !== undefined) out.keepAliveMillis = this._keepAliveMillis
    return out
  }

  /** ConnectOptions for a stream that is encrypted, if it should be, and timed already. */
  _over() {
    if (this.enableChannelBinding && this.ssl) {
      throw new Error(
        'enableChannelBinding does not work together with the options stream and connection or with TLS options that ' +
          'only Node knows; leave one of them out',
      )
    }
    return { ...this._own(), sslMode: 'disable', connectTimeoutMillis: undefined }
  }

  /** ConnectOptions of getPool, with what may have changed since: the password can be a function there, too. */
  _shared() {
    const out = { ...this._connectOptions }
    // Secrets are not enumerable.
    for (const key of ['password', 'key', 'passphrase']) {
      if (this._connectOptions[key] !== undefined) out[key] = this._connectOptions[key]
    }
    if (typeof this.password === 'function') delete out.password
    return out
  }

  _askPassword() {
    const answer = (password) => {
      this.connectionParameters.password = this.password = password
      if (typeof password === 'string') this._native.password(this._request, password)
      else this._refusePassword(new Error(NO_PASSWORD))
    }
    if (typeof this.password === 'function') {
      this._Promise
        .resolve()
        .then(() => this.password(this.connectionParameters))
        .then((password) => {
          if (password !== undefined && typeof password !== 'string') throw new TypeError('Password must be a string')
          answer(password === undefined ? null : password)
        })
        .catch((error) => this._refusePassword(error))
    } else if (this.password !== null) this._refusePassword(new Error(NO_PASSWORD))
    else require('./vendor').pgpass(this.connectionParameters, (found) => answer(found === undefined ? null : found))
  }

  _refusePassword(error) {
    if (!this._connecting || this._ended) return
    this._passwordError = error
    this._native.password(this._request, null, String(error && error.message))
  }

  _opened(session, pid, key, params, notices) {
    this._session = session
    this.processID = pid
    this.secretKey = key
    if (this._ending) {
      this._native.destroy(session)
      return
    }
    if (!this._refed) this._native.unref(session)
    this._prepareByItself()
    if (this._driver !== null) this._driver.opened()
    if (this._connection !== null) for (const [name, value] of params) this._connection._parameter(name, value)
    for (const notice of notices) this._safely(() => this.emit('notice', noticeFromRaw(notice)))
    this._connecting = false
    this._connected = true
    const callback = this._connectionCallback
    this._connectionCallback = null
    if (callback !== null) this._safely(() => callback(null, this))
    this._safely(() => this.emit('connect'))
    this._txStatus = 'I'
    this._ready = true
    this._pulse()
  }

  _prepareByItself() {
    const { prepareStatements, prepareInTransactions } = this._speed
    // A replication connection speaks another language.
    if (!prepareStatements || this.replication) return
    this._native.prepareByItself(this._session, prepareInTransactions === true, prepareStatements === 'always')
  }

  _openFailed(raw) {
    const error = this._passwordError || fromRaw(raw)
    this._lost(raw.kind === 'closed' || raw.kind === 'cancelled' ? undefined : error)
  }

  // --- losing the connection --------------------------------------------------------------------------------------

  /** The connection is gone, or never came to be; `error`: what was wrong before its end, if anything. */
  _lost(error) {
    const active = this._active
    if (active !== null && active.failure !== undefined) {
      // The server said why before it closed: whoever asked hears that first, and the end only then.
      this._active = null
      active.inFlight = false
      active.finish()
      setImmediate(() => this._lose(error))
    } else this._lose(error)
  }

  _lose(error) {
    if (this._driver !== null && this._driver.error !== undefined) error = this._driver.error
    const expected = this._ending && (error === undefined || error.code === 'ECONNRESET' || error.code === 'EPIPE')
    if (error !== undefined && !expected) this._safely(() => this._broken(error))
    this._safely(() => this._end())
  }

  _broken(error) {
    if (!this._connecting) {
      this._queryable = false
      this._failAll(error)
      this._emitError(error)
      return
    }
    if (this._connectionError) return
    this._connectionError = true
    if (this._connectionCallback !== null) this._connectionCallback(error)
    else this._emitError(error)
  }

  _end() {
    const error = new Error(this._ending ? 'Connection terminated' : 'Connection terminated unexpectedly')
    if (this._timer !== null) clearTimeout(this._timer)
    this._timer = null
    this._failAll(error)
    this._ended = true
    if (!this._ending && !this._connectionError) {
      this._safely(() => {
        if (this._connecting && this._connectionCallback !== null) this._connectionCallback(error)
        else if (this._connecting) this._emitError(error)
        else this._broken(error)
      })
    }
    this._quiet()
    const callbacks = this._endCallbacks
    this._endCallbacks = []
    for (const callback of callbacks) this._safely(callback)
    if (this._connection !== null) this._connection._ended()
    process.nextTick(() => this.emit('end'))
  }

  /** Rejects everything that waits for an answer, one tick later, in order. */
  _failAll(error) {
    const tasks = this._active === null ? [] : [this._active]
    tasks.push(...this._sent, ...this._queue)
    if (this._pool !== null && tasks.some((task) => task.shares)) this._pool._connectionLost(this)
    this._active = null
    this._sent = []
    this._queue = []
    for (const task of tasks) {
      process.nextTick(() => {
        task.inFlight = false
        task.fail(error)
        if (task.early !== undefined) task.leave()
      })
    }
  }

  /** A pool takes its idle clients' errors; a lost client that nobody listens to must not end the process. */
  _emitError(error) {
    if (this._pool !== null && this._pool._tookError(this, error)) return
    this.emit('error', error)
  }

  _safely(action) {
    try {
      action()
    } catch (error) {
      rethrowLater(error)
    }
  }

  // --- what the server says ---------------------------------------------------------------------------------------

  /**
   * Handles records (native.d.ts). The array is shared with the addon's other calls, so what is still unread is
   * copied before code that is not ours may run.
   */
  _records(words, length, text, extra) {
    let i = 0
    let x = 0
    while (i < length) {
      switch (words[i]) {
        case SHAPE: {
          const shape = driver.shapes[words[i + 1]]
          i += 2
          if (this._active !== null) this._active.shape(shape)
          continue
        }
        case ROWS: {
          const shape = driver.shapes[words[i + 1]]
          const rows = words[i + 2]
          const hold = words[i + 3] !== 0
          const task = this._active
          const at = i + 4
          i = at + rows * shape.width
          if (task === null) continue
          if (words === driver.words && (task.emitter !== undefined || (task.decoder && task.decoder.foreign))) {
            words = words.slice(0, length)
          }
          task.batch(words, at, rows, hold, text)
          continue
        }
        case COMPLETE: {
          const command = words[i + 1]
          const tag = command < 0 ? extra[x++] : undefined
          if (this._active !== null) this._active.complete(command, words[i + 2], words[i + 3], tag)
          i += 4
          continue
        }
        case EMPTY:
          if (this._active !== null && !this._active.settled) this._active.current()
          i++
          continue
        case PARSED:
          this._parsed()
          i++
          continue
        case READY: {
          const status = words[i + 1]
          i += 2
          if (i < length && words === driver.words) words = words.slice(0, length)
          this._readyForQuery(status)
          continue
        }
        case ERROR:
        case NOTICE:
        case NOTIFY:
        case CLOSED: {
          const kind = words[i++]
          if (i < length && words === driver.words) words = words.slice(0, length)
          this._rare(kind, extra === undefined ? undefined : extra[x++])
          continue
        }
        case PARAMETER:
          i++
          if (this._connection !== null) {
            if (i < length && words === driver.words) words = words.slice(0, length)
            this._safely(() => this._connection._parameter(...extra[x]))
          }
          x++
          continue
        case REPEAT:
          if (this._active !== null) this._active.repeats = true
          i++
          continue
        case DRAINED:
          if (this._connection !== null) this._connection.stream._drain()
          i++
          continue
        default:
          // Nothing to do: suspended portals do not occur, and copies are answered by the addon.
          i++
      }
    }
  }

  _readyForQuery(status) {
    const task = this._active
    this._txStatus = status === 73 ? 'I' : status === 84 ? 'T' : 'E'
    this._active = this._sent.length === 0 ? null : this._sent.shift()
    this._ready = this._active === null
    if (task !== null) {
      task.inFlight = false
      if (task.repeats && !task.settled) this._repeat(task)
      else this._safely(() => task.finish())
      if (task.early !== undefined) task.leave()
    }
    // One that was given up while it waited behind others: its turn has come, and nothing else can be hit for it.
    const next = this._active
    if (next !== null && next.shares && next.settled && this._differences.timeoutCancels) this._cancelActive()
    this._pulse()
  }

  /** Nothing of it ran, because of a name that the addon had given, or a cancel that was meant for another: once more. */
  _repeat(task) {
    task.repeats = false
    task.unnamed = true
    // Behind others it could find their transaction; it waits for its turn in the pool once more.
    if (task.shares && (task.endangered || this._active !== null)) task.restart()
    else this._queue.unshift(task)
  }

  _rare(kind, extra) {
    if (kind === ERROR) this._serverError(fromRaw(extra))
    else if (kind === NOTICE) this._safely(() => this.emit('notice', noticeFromRaw(extra)))
    else if (kind === CLOSED) {
      driver.forget(this._session)
      this._session = -1
      this._lost(extra === undefined || extra === null || extra.kind === 'closed' ? undefined : fromRaw(extra))
    } else this._safely(() => this.emit('notification', new NotificationResponseMessage(extra)))
  }

  _serverError(error) {
    const task = this._active
    if (task === null) {
      this._safely(() => this._broken(error))
      return
    }
    if (task.name && this._statements !== null) {
      const known = this._statements.get(task.name)
      if (known !== undefined && !known.parsed) this._statements.delete(task.name)
    }
    if (task.endangered && error.code === QUERY_CANCELED) this._hitForAnother(task, error)
    if (task.failure === undefined && !task.repeats) task.failure = error
  }

  /** A cancel that was meant for the statement before it, which had ended by then, hit this one. */
  _hitForAnother(task, error) {
    if (task.unnamed || !MAY_RESTART.test(task.text) || !task.extended) {
      error.cause = new Error('A cancel that was meant for the statement before it on the same connection hit this one')
    } else task.repeats = true
  }

  _parsed() {
    const task = this._active
    if (task === null || !task.name || this._statements === null) return
    const known = this._statements.get(task.name)
    if (known !== undefined) known.parsed = true
  }

  // --- queries ----------------------------------------------------------------------------------------------------

  query(config, values, callback) {
    if (config === null || config === undefined) throw new TypeError('Client was passed a null or undefined query')
    let task
    let result
    if (typeof config.submit === 'function') {
      task = this._taskOf(config, values, callback)
      result = config
    } else {
      task = new Task()
      task.configure(config, values, callback)
      if (!task.callback) result = task.promise(this._Promise)
      else if (typeof task.callback !== 'function') throw new TypeError('callback is not a function')
    }
    this._enqueue(task, config.query_timeout)
    return result
  }

  /**
   * The rows of a query as an async iterator with bounded memory. Leaving the loop early cancels the statement on the
   * server. heys-db's own.
   */
  stream(config, values) {
    return new (require('./row-stream').RowStream)(this, config, values)
  }

  /** `COPY … TO STDOUT` as a Readable. heys-db's own. */
  copyTo(text) {
    return this.query(new (require('./copy').CopyTo)(this, text))
  }

  /** `COPY … FROM STDIN` as a Writable, finished when the server has stored everything. heys-db's own. */
  copyFrom(text) {
    return this.query(new (require('./copy').CopyFrom)(this, text))
  }

  /** Takes a task out of the queue, and ends it as one that nobody waits for. */
  _drop(task) {
    const queued = this._queue.indexOf(task)
    if (queued >= 0) this._queue.splice(queued, 1)
    task.fail(new Error('Given up before it was sent'))
  }

  _taskOf(query, values, callback) {
    if (!(query instanceof Query)) {
      if (!query.callback) {
        if (typeof values === 'function') query.callback = values
        else if (callback) query.callback = callback
      }
      return new (require('./submitted').Submitted)(query)
    }
    if (!query.callback) query.callback = typeof values === 'function' ? values : callback
    return query._task()
  }

  _enqueue(task, ownTimeout) {
    const timeout = ownTimeout || this.connectionParameters.query_timeout
    if (timeout) this._watch(task, Number(timeout))
    if (this.binary && !task.binary) task.binary = true
    if (task.types === undefined && (this._overrides !== null || this._userTypes)) task.types = this._types
    if (task.binary && !this._differences.intactBinary) task.types = require('./binary-as-pg')(task.types, task.rowMode)
    const refusal = this._refusal(task)
    if (refusal !== undefined) {
      process.nextTick(() => task.fail(refusal))
      return
    }
    this._queue.push(task)
    this._pulse()
  }

  _refusal(task) {
    if (this.pipeline && task.rows) return new Error('The `rows` option is not supported in pipeline mode')
    if (!this._queryable) return new Error('Client has encountered a connection error and is not queryable')
    if (this._ending) return new Error('Client was closed and is not queryable')
    return undefined
  }

  /** Sends what can be sent. */
  _pulse() {
    if (this._cancels > 0 || this._ended) return
    if (this.pipeline) return this._pulsePipeline()
    if (!this._ready) return this._pulseShared()
    if (this._queue.length === 0) {
      if (this._whenQuiet !== null) this._quiet()
      if (this._hasExecuted && this._ready && this._queue.length === 0) this.emit('drain')
      return
    }
    const task = this._queue.shift()
    this._active = task
    this._ready = false
    this._hasExecuted = true
    const refused = this._submit(task)
    if (refused !== undefined) {
      process.nextTick(() => {
        this._active = null
        this._ready = true
        task.fail(refused)
        this._pulse()
      })
    } else if (this._queue.length > 0) this._pulseShared()
  }

  /** Sends the one-shots that the pool wants behind the active one. */
  _pulseShared() {
    while (this._active !== null && this._active.inFlight && this._queue.length > 0 && this._queue[0].shares) {
      const task = this._queue.shift()
      const refused = this._submit(task)
      if (refused === undefined) this._sent.push(task)
      else process.nextTick(() => task.fail(refused))
    }
  }

  _pulsePipeline() {
    if (!this._connected || !this._queryable) return
    while (this._queue.length > 0) {
      const task = this._queue.shift()
      this._hasExecuted = true
      const refused = this._submit(task)
      if (refused !== undefined) process.nextTick(() => task.fail(refused))
      else if (this._active === null) {
        this._active = task
        this._ready = false
      } else this._sent.push(task)
    }
    if (this._active !== null) return
    if (this._whenQuiet !== null) this._quiet()
    if (this._hasExecuted && this._active === null) this.emit('drain')
  }

  /** Writes a query to the session, or returns the error that forbids it. */
  _submit(task) {
    if (task.query !== undefined) return this._submitForeign(task)
    const { text, name, values } = task
    if (typeof text !== 'string' && typeof name !== 'string') {
      return new Error('A query must have either text or a name. Supplying neither is unsupported.')
    }
    const known = name && this._statements !== null ? this._statements.get(name) : undefined
    if (known !== undefined && text && known.text && text !== known.text) {
      return new Error(`Prepared statements must be unique - '${name}' was used for a different statement`)
    }
    if (values && !Array.isArray(values)) return new Error('Query values must be an array')
    try {
      if (!task.extended) this._sendSimple(task)
      else if (name || !this._sendKnown(task, 0)) this._extended(task, known, this._prepared(task))
    } catch (error) {
      return error
    }
    task.inFlight = true
    return undefined
  }

  _sendSimple(task) {
    if (!this._sendKnown(task, SIMPLE)) this._native.query(this._session, task.text || '', 0)
  }

  /** Sends a text that comes again by its number; false: it has none, or its name may have made it fail. */
  _sendKnown(task, simple) {
    const { text, portal, unnamed } = task
    // With the option pipeline others may be behind it already, and must not overtake it.
    if (portal || unnamed || !text || this.pipeline) return false
    const id = task.textId >= 0 ? task.textId : texts.idOf(this._native, text)
    if (!texts.isCurrent(id)) return false
    // What else takes parsers from somewhere could be asked for them once too often.
    const numbers = task.types === undefined ? numbersTaken() : 0
    const flags = simple | (task.binary && simple === 0 ? BINARY : numbers) | (task.shares ? SHARED : 0)
    this._native.known(this._session, id, simple === 0 ? this._prepared(task) : null, flags)
    return true
  }

  /** The values as parameters. What throws here is told at once, as in node-postgres. */
  _prepared(task) {
    const { values } = task
    if (!values || values.length === 0) return null
    // A statement that is sent a second time says the same, whatever became of the values meanwhile.
    if (task.prepared !== undefined) return task.prepared
    try {
      return (task.prepared = prepareValues(values))
    } catch (error) {
      task.fail(error)
      throw error
    }
  }

  /** Lets a Submittable speak until the server is ready again. */
  _submitForeign(task) {
    const { connection } = this
    task.connection = connection
    if (!connection._begin()) return new Error('Client is busy: a Submittable cannot run in pipeline mode')
    const refused = task.query.submit(connection)
    if (refused instanceof Error) connection._finish(this._txStatus)
    return refused instanceof Error ? refused : undefined
  }

  /** A message while a Submittable speaks. */
  _foreignMessage(message) {
    if (message.name === 'notice') this._safely(() => this.emit('notice', message))
    else if (message.name === 'notification') this._safely(() => this.emit('notification', message))
    else if (this._active !== null) this._safely(() => this._active.message(message))
  }

  /** node-postgres's Connection: made when it is first asked for. */
  get connection() {
    if (this._connection === null) this._connection = new (require('./client-connection'))(this)
    return this._connection
  }

  _extended(task, known, prepared) {
    const { text, name } = task
    const sql = known === undefined ? text || '' : null
    // Rows are delivered all at once whatever `rows` says, so the portal needs no limit.
    this._native.extended(this._session, name || '', sql, prepared, task.binary ? BINARY : 0, task.portal || '', 0)
    if (name && known === undefined) {
      if (name.length > 63) warnOfLongName(name)
      if (this._statements === null) this._statements = new Map()
      // One without a text is asked for again each time, and the server says what it thinks of that, as with node-postgres.
      if (text !== undefined) this._statements.set(name, { text, parsed: false })
    }
  }

  // --- timeouts and cancelling ------------------------------------------------------------------------------------

  _watch(task, millis) {
    task.deadline = performance.now() + millis
    if (this._timer !== null && this._timerAt <= task.deadline) return
    if (this._timer !== null) clearTimeout(this._timer)
    this._arm(task.deadline, millis)
  }

  _arm(at, millis) {
    this._timerAt = at
    this._timer = setTimeout(() => this._expire(), millis)
    // While a query waits, its socket keeps the process alive.
    this._timer.unref()
  }

  /** One timer serves all queries: it rejects those past their time and is armed again for the next one. */
  _expire() {
    this._timer = null
    const now = performance.now()
    let next = Infinity
    const late = []
    for (const task of this._active === null ? this._queue : [this._active, ...this._sent, ...this._queue]) {
      if (task.deadline === 0 || task.settled) continue
      // Node's timers may fire up to a millisecond early.
      if (task.deadline <= now + 1) late.push(task)
      else if (task.deadline < next) next = task.deadline
    }
    if (next < Infinity) this._arm(next, Math.max(1, Math.ceil(next - now)))
    for (const task of late) this._timedOut(task)
  }

  _timedOut(task) {
    if (task.settled) return
    const queued = this._queue.indexOf(task)
    if (queued >= 0) this._queue.splice(queued, 1)
    else if (this.pipeline) this._native.destroy(this._session)
    else if (this._differences.timeoutCancels && this._session >= 0 && this._active === task) this._cancelActive()
    if (this._pool !== null) this._pool._counts.queryTimeouts++
    this._safely(() => task.fail(new Error('Query read timeout')))
    this._pulse()
  }

  /**
   * Cancels the active statement on the server. Until both its end and the cancel's are seen nothing is sent. While it
   * still runs, it is cancelled once more after `wait` milliseconds, and so on.
   */
  _cancelActive(wait = CANCEL_AGAIN_MILLIS) {
    this._cancels++
    const session = this._session
    const task = this._active
    let open = true
    for (const follower of this._sent) follower.endangered = follower.shares
    const runs = () => this._session === session && this._active === task
    const later = (action, millis) => setTimeout(action, millis).unref()
    later(() => {
      if (runs() || (open && this._session === session)) this._native.destroy(session)
    }, CANCEL_MILLIS)
    const over = () => {
      open = false
      this._cancels--
      if (this._session === session) this._pulse()
      const again = () => {
        if (runs() && this._cancels === 0) this._cancelActive(wait * 4)
      }
      if (wait < Infinity && runs()) later(again, wait)
    }
    if (this._driver === null) driver.cancel(session, over)
    else this._driver.cancel(over)
  }

  /** Cancels `query` on `client`, if it runs there; drops it if it waits there. */
  cancel(client, query) {
    const active = client._active
    if (active !== null && active.emitter === query) {
      // As node-postgres: once.
      if (client._session >= 0) client._cancelActive(Infinity)
      return
    }
    const waiting = client._queue.findIndex((task) => task.emitter === query)
    if (waiting >= 0) client._queue.splice(waiting, 1)
    else for (const task of client._sent) if (task.emitter === query) task.settled = true
  }

  // --- being released by a pool -----------------------------------------------------------------------------------

  /** Whether nothing runs or waits here. */
  _isQuiet() {
    return (this._ready && this._active === null && this._queue.length === 0 && this._cancels === 0) || this._ended
  }

  /** Whether queries that nobody has been answered about still run or wait. */
  _isBusy() {
    if (this._ended) return false
    return (this._active !== null && !this._active.settled) || this._queue.length > 0 || this._sent.length > 0
  }

  _quiet() {
    const action = this._whenQuiet
    if (action === null) return
    this._whenQuiet = null
    action()
  }

  /** Calls back once nothing runs or waits here, or the connection has ended. */
  _afterQuiet(action) {
    this._whenQuiet = action
    if (this._isQuiet()) this._quiet()
  }

  // --- the rest of node-postgres's surface ------------------------------------------------------------------------

  end(callback) {
    this._ending = true
    if (!this._started || this._ended) {
      if (!callback) return this._Promise.resolve()
      callback()
      return undefined
    }
    if (this._session < 0) {
      if (this._driver !== null) this._driver.abort()
      else if (this._request >= 0) this._native.abortConnect(this._request)
    } else if (!this._queryable) this._native.destroy(this._session)
    else if (this.pipeline && this._active !== null) this.once('drain', () => this._close())
    else if (this._active !== null) this._native.destroy(this._session)
    else this._close()
    if (callback) {
      this._endCallbacks.push(callback)
      return undefined
    }
    return new this._Promise((resolve) => this._endCallbacks.push(() => resolve()))
  }

  _close() {
    if (this._session >= 0) this._native.close(this._session)
  }

  ref() {
    this._refed = true
    if (this._session >= 0) this._native.ref(this._session)
    if (this._driver !== null) this._driver.ref()
  }

  unref() {
    this._refed = false
    if (this._session >= 0) this._native.unref(this._session)
    if (this._driver !== null) this._driver.unref()
  }

  get activeQuery() {
    const task = this._active
    return task === null ? null : task.emitter || task
  }

  get queryQueue() {
    return this._queue.map((task) => task.emitter || task)
  }

  getTransactionStatus() {
    return this._txStatus
  }

  get _types() {
    if (this._overrides === null) {
      const TypeOverrides = require('./type-overrides')
      this._overrides = new TypeOverrides(this._userTypes)
    }
    return this._overrides
  }

  setTypeParser(oid, format, parseFn) {
    return this._types.setTypeParser(oid, format, parseFn)
  }

  getTypeParser(oid, format) {
    return this._types.getTypeParser(oid, format)
  }

  escapeIdentifier(name) {
    return utils.escapeIdentifier(name)
  }

  escapeLiteral(value) {
    return utils.escapeLiteral(value)
  }
}

function warnOfLongName(name) {
  console.error(`A prepared statement's name has ${name.length} characters; PostgreSQL cuts it to 63: ${name}`)
}

Client.Query = Query

module.exports = Client
