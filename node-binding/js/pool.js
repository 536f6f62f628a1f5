'use strict'

const EventEmitter = require('events')
const driver = require('./driver')
const Client = require('./client')
const { differences } = require('./differences')
const { DatabaseError } = require('./errors')
const { speed } = require('./speed')
const texts = require('./texts')
const { Task, rejection } = require('./query')

/** Action records and release kinds (native.d.ts). */
const CONNECT = 1
const PROBE = 2
const DELIVER = 3
const FAIL = 4
const RESET = 5
const IDLE = 6
const CLOSE = 7
const ENDED = 8
const RECORD_LENGTH = [1, 2, 2, 4, 4, 2, 2, 3, 1]
const REUSE = 0
const DIRTY = 1
const DESTROY = 2
const WAIT_TIMEOUT = 0
const CONNECT_TIMEOUT = 1
const CONNECT_ERROR = 2

/** How long a released client may take to be rolled back before its connection is closed. */
const RESET_MILLIS = 5000
const ENDED_TEXT = 'Cannot use a pool after calling end on the pool'

function noop() {}

/** A waiter of connect(): the client goes to a callback or a promise. */
class Checkout {
  constructor(callback) {
    this.callback = callback
    this.resolve = undefined
    this.since = 0
  }

  take(pool, client) {
    if (this.callback) this.callback(undefined, client, client.release)
    else this.resolve(client)
  }

  refuse(error) {
    if (this.callback) this.callback(error, undefined, noop)
    else this.resolve(rejection(error))
  }
}

/** A waiter of query(): its task runs on the client as soon as there is one. */
class PooledTask extends Task {
  constructor() {
    super()
    this.success = undefined
    this.since = 0
    this.queryTimeout = undefined
    /** What to give to client.query() as it is: a Query with events, or what is no query. */
    this.direct = undefined
    this.isDirect = false
  }

  take(pool, client) {
    this.pool = pool
    this.client = client
    if (this.isDirect) this.submit(client)
    else client._enqueue(this, this.queryTimeout)
  }

  /** Takes client.query()'s own way, with its errors. */
  submit(client) {
    try {
      client.query(this.direct, this.values, (error, results) => {
        this.settle(error === null ? undefined : error, results, Boolean(error))
      })
    } catch (error) {
      this.settle(error, undefined, true)
    }
  }

  refuse(error) {
    this.settle(error, undefined, true)
  }

  /** It was answered before its READY, which has come now: the connection is free for another. */
  leave() {
    const { error, failed } = this.early
    this.early = undefined
    this.pool._queryDone(this, error, failed)
  }

  /** Nothing of it has run: it waits for a connection once more. */
  restart() {
    const { pool, client } = this
    this.endangered = false
    this.client = undefined
    pool._releaseShared(client, null, false)
    if (pool.ending) this.refuse(new Error(ENDED_TEXT))
    else pool._acquire(this, false)
  }
}

/** Options that must not show when the pool is logged. */
function hide(options, given) {
  if (given && 'password' in given) {
    Object.defineProperty(options, 'password', {
      configurable: true,
      enumerable: false,
      writable: true,
      value: given.password,
    })
  }
  if (given && given.ssl && given.ssl.key) Object.defineProperty(options.ssl, 'key', { enumerable: false })
}

/** pg-pool's Pool. The order of things is the addon's pool machine's; this class does what it says. */
class Pool extends EventEmitter {
  constructor(options, ClientClass) {
    super()
    const own = Object.assign({}, options)
    this.options = own
    hide(own, options)
    own.max = own.max || own.poolSize || 10
    own.min = own.min || 0
    own.maxUses = own.maxUses || Infinity
    own.allowExitOnIdle = own.allowExitOnIdle || false
    own.maxLifetimeSeconds = own.maxLifetimeSeconds || 0
    if (own.idleTimeoutMillis === undefined) own.idleTimeoutMillis = 10000
    this.log = own.log || noop
    this.Client = own.Client || ClientClass || Client
    this.Promise = own.Promise || Promise
    this.ending = false
    this.ended = false

    this._differences = differences(own)
    this._speed = speed(own)
    this._native = null
    this._id = -1
    this._clients = new Map()
    this._waiters = new Map()
    this._connectErrors = new Map()
    this._timer = null
    this._endWaiter = null
    this._counts = {
      acquires: 0,
      connectErrors: 0,
      acquireTimeouts: 0,
      queryTimeouts: 0,
      waitLast: 0,
      waitMax: 0,
      waitTotal: 0,
    }
    // No deadline set later can fall before a timer armed for this long or less, so an armed timer can stay.
    const spans = [own.idleTimeoutMillis, own.connectionTimeoutMillis, own.maxLifetimeSeconds * 1000, RESET_MILLIS]
    this._tickMillis = Math.min(...spans.filter((span) => span > 0))
  }

  /** The machine, made at first use. */
  _machine() {
    if (this._native !== null) return this._native
    const native = driver.load()
    const { max, min, idleTimeoutMillis, connectionTimeoutMillis, maxLifetimeSeconds, maxUses } = this.options
    this._id = native.poolNew(
      max,
      min,
      idleTimeoutMillis || 0,
      connectionTimeoutMillis || 0,
      maxLifetimeSeconds * 1000,
      Number.isFinite(maxUses) ? maxUses : 0,
      this._differences.endRejectsWaiters,
      RESET_MILLIS,
      this.options.heysLimit,
      this._speed.pipelineQueries,
    )
    this._native = native
    driver.machines.register(this, this._id)
    if (this.options.heysLimit !== undefined) driver.sharing.set(this._id, this)
    return native
  }

  // --- asking -----------------------------------------------------------------------------------------------------

  connect(callback) {
    if (this.ending) {
      const error = new Error(ENDED_TEXT)
      return callback ? callback(error) : this.Promise.reject(error)
    }
    const waiter = new Checkout(callback)
    const promise = callback
      ? undefined
      : new this.Promise((resolve) => {
          waiter.resolve = resolve
        })
    this._acquire(waiter, true)
    return promise
  }

  query(text, values, callback) {
    if (typeof text === 'function') return this._refuseFunction(text)
    const task = new PooledTask()
    if (typeof values === 'function') {
      callback = values
      values = undefined
    }
    if (text === null || text === undefined || typeof text.submit === 'function') {
      task.isDirect = true
      task.direct = text
      task.values = values
    } else {
      task.configure(text, values, undefined)
      task.queryTimeout = text.query_timeout
      task.shares = this._speed.pipelineQueries > 1 && this._mayShare(task)
    }
    task.callback = callback
    const promise = callback ? undefined : task.promise(this.Promise)
    if (this.ending) task.refuse(new Error(ENDED_TEXT))
    else this._acquire(task, this.listenerCount('acquire') > 0)
    return promise
  }

  _refuseFunction(callback) {
    setImmediate(callback, new Error('Passing a function as the first parameter to pool.query is not supported'))
  }

  /**
   * Whether a connection may carry others meanwhile: not for whoever watches checkouts, or brings clients of its own, and
   * not for statements with a name or a portal, whose order on a connection matters.
   */
  _mayShare(task) {
    return (
      typeof task.text === 'string' &&
      !task.name &&
      !task.portal &&
      !task.rows &&
      this.Client === Client &&
      !this.options.pipeline &&
      !this.options.verify &&
      this.listenerCount('acquire') === 0 &&
      this.listenerCount('release') === 0
    )
  }

  /** `later`: the waiter's client is handed over in the next tick at the earliest, as callers of connect() expect. */
  _acquire(waiter, later) {
    const native = this._machine()
    const words = driver.words
    let length
    if (waiter.shares === true) {
      if (waiter.textId < 0) waiter.textId = texts.idOf(native, waiter.text)
      length = native.poolAcquireQuery(this._id, waiter.textId)
    } else length = native.poolAcquire(this._id)
    const id = words[0]
    this._counts.acquires++
    if (length === 5 && words[1] === DELIVER && words[2] === id) {
      const client = this._clients.get(words[3])
      const fresh = words[4] !== 0
      this._count(0)
      if (later) process.nextTick(() => this._deliver(waiter, client, fresh))
      else this._deliver(waiter, client, fresh)
    } else {
      waiter.since = performance.now()
      this._waiters.set(id, waiter)
      if (length > 1) this._run(words.slice(1, length))
      if (length > 1 || this.options.connectionTimeoutMillis > 0) this._arm()
    }
  }

  _count(wait) {
    const counts = this._counts
    counts.waitLast = wait
    if (wait === 0) return
    counts.waitTotal += wait
    if (wait > counts.waitMax) counts.waitMax = wait
  }

  // --- what the machine wants ------------------------------------------------------------------------------------

  /** Does the actions in the `length` first words. They are copied, because every step may call the machine again. */
  _act(length) {
    const { words } = driver
    // The most frequent case by far, without a copy.
    if (length === 4 && words[0] === DELIVER) this._do(words, 0)
    else if (length > 0) {
      this._run(words.slice(0, length))
      this._arm()
    }
  }

  _run(actions) {
    for (let i = 0; i < actions.length; i += RECORD_LENGTH[actions[i]]) this._do(actions, i)
  }

  _do(actions, i) {
    try {
      this._doOne(actions, i)
    } catch (error) {
      process.nextTick(() => {
        throw error
      })
    }
  }

  _doOne(actions, i) {
    const subject = actions[i + 1]
    switch (actions[i]) {
      case CONNECT:
        return this._open(subject)
      case PROBE:
        return this._act(this._native.poolProbed(this._id, subject, this._looksHealthy(subject)))
      case DELIVER:
        return this._deliverWaiter(subject, actions[i + 2], actions[i + 3] !== 0)
      case FAIL:
        return this._fail(subject, actions[i + 2], actions[i + 3])
      case RESET:
        return this._reset(subject)
      case IDLE:
        return this._idle(this._clients.get(subject))
      case CLOSE:
        return this._close(subject, actions[i + 2] !== 0)
      case ENDED:
        return this._finishEnd()
    }
  }

  _deliverWaiter(id, conn, fresh) {
    const waiter = this._waiters.get(id)
    this._waiters.delete(id)
    this._count(performance.now() - waiter.since)
    this._deliver(waiter, this._clients.get(conn), fresh)
  }

  /** To be called after whatever may have brought a deadline; a handed-over connection alone brings none. */
  _arm() {
    if (this._timer !== null) return
    const wait = this._native.poolWait(this._id)
    if (wait < 0) return
    this._timer = setTimeout(
      () => {
        this._timer = null
        this._act(this._native.poolTick(this._id))
        this._arm()
      },
      Math.min(wait, this._tickMillis),
    )
    // Sockets keep the process alive where a pool should.
    this._timer.unref()
  }

  _looksHealthy(conn) {
    const client = this._clients.get(conn)
    return client._queryable !== false && !client._ending
  }

  _open(conn) {
    const client = new this.Client(this.options)
    this._clients.set(conn, client)
    const ours = client instanceof Client
    if (ours) {
      client._pool = this
      client._conn = conn
    } else {
      client._conn = conn
      client.on('error', (error) => this._foreignError(client, error))
    }
    client._held = true
    client._poolUseCount = 0
    this.log('connecting new client')
    client.connect((error) => {
      if (error) this._openFailed(conn, client, error)
      else this._opened(conn, client)
    })
  }

  _openFailed(conn, client, error) {
    this.log('client failed to connect', error)
    if (this._clients.get(conn) !== client) return
    this._counts.connectErrors++
    this._clients.delete(conn)
    this._connectErrors.set(conn, error)
    this._act(this._native.poolConnectFailed(this._id, conn))
    this._connectErrors.delete(conn)
  }

  _opened(conn, client) {
    this.log('new client connected')
    const { onConnect } = this.options
    if (!onConnect) return this._ready(conn, client)
    new this.Promise((resolve) => resolve(onConnect(client))).then(
      () => this._ready(conn, client),
      (error) => client.end(() => this._openFailed(conn, client, error)),
    )
  }

  _ready(conn, client) {
    if (this._clients.get(conn) !== client || client._closing) return
    if (client._session >= 0) {
      this._native.poolBind(this._id, conn, this._differences.looksBeforeCheckout ? client._session : -1)
    }
    this.emit('connect', client)
    this._act(this._native.poolConnected(this._id, conn))
    // Its lifetime begins.
    this._arm()
  }

  _deliver(waiter, client, fresh) {
    if (!client._held) this._awake(client)
    if (waiter instanceof PooledTask && !(fresh && this.options.verify)) {
      if (this.listenerCount('acquire') > 0) this.emit('acquire', client)
      waiter.take(this, client)
      return
    }
    this.emit('acquire', client)
    client.release = this._releaser(client)
    if (!fresh || !this.options.verify) {
      waiter.take(this, client)
      return
    }
    this.options.verify(client, (error) => {
      if (!error) return waiter.take(this, client)
      client.release(error)
      waiter.refuse(error)
    })
  }

  /** The client waits in the pool from here on: its errors are the pool's, and it need not keep the process alive. */
  _idle(client) {
    client._held = false
    if (this.options.allowExitOnIdle && client.unref) client.unref()
  }

  _awake(client) {
    client._held = true
    if (this.options.allowExitOnIdle && client.ref) client.ref()
  }

  _fail(id, why, conn) {
    const waiter = this._waiters.get(id)
    this._waiters.delete(id)
    if (waiter === undefined) return
    this._count(performance.now() - waiter.since)
    waiter.refuse(this._failure(why, conn))
  }

  _failure(why, conn) {
    if (why === WAIT_TIMEOUT) {
      this._counts.acquireTimeouts++
      return new Error('timeout exceeded when trying to connect')
    }
    if (why === CONNECT_TIMEOUT) {
      this._counts.acquireTimeouts++
      const cause = new Error('Connection terminated unexpectedly')
      return new Error('Connection terminated due to connection timeout', { cause })
    }
    if (why === CONNECT_ERROR) return this._connectErrors.get(conn) || new Error('Connection terminated unexpectedly')
    return new Error(ENDED_TEXT)
  }

  _close(conn, expired) {
    const client = this._clients.get(conn)
    if (client === undefined) return this._act(this._native.poolClosed(this._id, conn))
    this.log(expired ? 'remove idle client' : 'remove client')
    client._closing = true
    const connected = client._connected !== false
    client.end(() => {
      if (this._clients.get(conn) === client) this._clients.delete(conn)
      if (connected) this.emit('remove', client)
      this._act(this._native.poolClosed(this._id, conn))
    })
  }

  // --- giving back ------------------------------------------------------------------------------------------------

  /** A release function for one checkout; the second call throws. */
  _releaser(client) {
    let released = false
    return (error) => {
      if (released) throw new Error('Release called on client which has already been released to the pool.')
      released = true
      this._release(client, error, Boolean(error))
    }
  }

  /** `error`: what the caller passed to release(); `destroy`: whether the connection has to go. */
  _release(client, error, destroy) {
    client._poolUseCount++
    if (this.listenerCount('release') > 0) this.emit('release', error, client)
    if (destroy || client._queryable === false || client._ending) return this._giveBack(client, DESTROY)
    if (client._pool !== this || !this._differences.cleansReleased) return this._giveBack(client, REUSE)
    // Queries that were started and not awaited finish first: a busy client is not handed out.
    if (client._isBusy()) client._afterQuiet(() => this._giveBackQuiet(client))
    else this._giveBackQuiet(client)
  }

  _giveBackQuiet(client) {
    if (!client._queryable || client._ending || client._ended) return this._giveBack(client, DESTROY)
    this._giveBack(client, client._txStatus === 'I' && client._isQuiet() ? REUSE : DIRTY)
  }

  _giveBack(client, how) {
    this._act(this._native.poolRelease(this._id, client._conn, how))
  }

  /** The end of a task of pool.query(), as far as its caller is concerned. */
  _queryDone(task, error, failed) {
    const { client } = task
    if (client !== undefined && task.shares && task.inFlight) {
      task.early = { error, failed }
      return
    }
    task.pool = undefined
    if (client === undefined) return
    const keep = this._differences.keepsAfterSqlError && this._keeps(error)
    // As a query's callback has it: null when nothing failed.
    if (task.shares) this._releaseShared(client, failed ? error : null, failed && !keep)
    else this._release(client, failed ? error : null, failed && !keep)
  }

  /** One of the queries that share a connection is over; others may be in flight behind it. */
  _releaseShared(client, error, destroy) {
    client._poolUseCount++
    if (this.listenerCount('release') > 0) this.emit('release', error, client)
    if (destroy || !client._queryable || client._ending || client._ended) return this._giveBack(client, DESTROY)
    const clean = client._txStatus === 'I' && client._cancels === 0
    this._giveBack(client, clean || !this._differences.cleansReleased ? REUSE : DIRTY)
  }

  /** Whether a connection is good after this error: the server answered and did not say goodbye, or was cancelled. */
  _keeps(error) {
    if (error instanceof DatabaseError) return error.severity !== 'FATAL' && error.severity !== 'PANIC'
    return this._differences.timeoutCancels
  }

  /** Ends an open transaction before the next checkout; the client is quiet, or its statement is being cancelled. */
  _reset(conn) {
    const client = this._clients.get(conn)
    client._afterQuiet(() => {
      if (client._ended) return this._resetDone(conn, false)
      if (client._txStatus === 'I') return this._resetDone(conn, true)
      this._warn(client)
      const task = new Task()
      task.text = 'ROLLBACK'
      task.callback = (error) => this._resetDone(conn, !error && client._txStatus === 'I')
      client._queue.push(task)
      client._pulse()
    })
  }

  _resetDone(conn, clean) {
    this._act(this._native.poolResetDone(this._id, conn, clean))
  }

  _warn(client) {
    const text =
      `[heys-db] WARNING: client of server process ${client.processID} was released inside an open transaction ` +
      '(no COMMIT or ROLLBACK before release); it is rolled back'
    if (this.options.log) this.log(text)
    else console.warn(text)
  }

  // --- clients that fail ------------------------------------------------------------------------------------------

  /** Before the queries that share it are rejected: no other may be sent there meanwhile. */
  _connectionLost(client) {
    this._act(this._native.poolLost(this._id, client._conn))
  }

  /** Whether the error of our own client was dealt with here. */
  _tookError(client, error) {
    if (client._gone || client._closing) return true
    if (client._held) return this._differences.survivesLostClients && client.listenerCount('error') === 0
    this._idleError(client, error)
    return true
  }

  _foreignError(client, error) {
    if (client._gone || client._closing || client._held) return
    this._idleError(client, error)
  }

  _idleError(client, error) {
    client._gone = true
    if (error !== null && typeof error === 'object') error.client = client
    this._act(this._native.poolLost(this._id, client._conn))
    this.emit('error', error, client)
  }

  // --- ending -----------------------------------------------------------------------------------------------------

  end(callback) {
    if (this.ending) {
      const error = new Error('Called end on pool more than once')
      return callback ? callback(error) : this.Promise.reject(error)
    }
    this.ending = true
    this._endWaiter = callback
    const promise = callback
      ? undefined
      : new this.Promise((resolve) => {
          this._endWaiter = resolve
        })
    if (this._native === null) this._finishEnd()
    else this._act(this._native.poolEnd(this._id))
    return promise
  }

  _finishEnd() {
    this.ended = true
    if (this._native !== null) driver.sharing.delete(this._id)
    if (this._timer !== null) clearTimeout(this._timer)
    this._timer = null
    this._endWaiter()
  }

  get totalCount() {
    return this._native === null ? 0 : this._native.poolTotal(this._id)
  }

  get idleCount() {
    return this._native === null ? 0 : this._native.poolIdle(this._id)
  }

  get waitingCount() {
    return this._native === null ? 0 : this._native.poolWaiting(this._id)
  }

  get expiredCount() {
    return this._native === null ? 0 : this._native.poolExpired(this._id)
  }
}

module.exports = Pool
