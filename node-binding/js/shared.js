'use strict'

const driver = require('./driver')
const Pool = require('./pool')

/**
 * getPool() and what stands on it. The environment is read at the first getPool() of a pool, never at require, so
 * that secrets may be loaded in between.
 */

const UNNAMED = 'shared'
/** SQLSTATEs after which the same transaction may well succeed: serialization_failure, deadlock_detected. */
const RETRYABLE = new Set(['40001', '40P01'])
const RETRY_BASE_MILLIS = 20
const ISOLATION = new Set(['READ UNCOMMITTED', 'READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'])

/** name → pool */
const pools = new Map()

function tagOf(name) {
  return name === UNNAMED ? '[DB-Pool]' : `[DB-Pool:${name}]`
}

function observe(pool, name, debug) {
  const tag = tagOf(name)
  console.log(`${tag} Pool initialized with max:`, pool.options.max)
  pool.on('error', (error) => {
    // Not the whole error: it holds the client.
    const code = error && error.code ? ` (${error.code})` : ''
    console.error(`${tag} ERROR Unexpected error on idle client:`, `${error && error.message}${code}`)
  })
  if (!debug) return
  for (const [event, text] of [
    ['connect', 'Client connected, server process'],
    ['acquire', 'Client acquired, server process'],
    ['remove', 'Client removed, server process'],
  ]) {
    pool.on(event, (client) => console.log(`${tag} ${text}`, client.processID))
  }
}

/** Where the server's certificate is verified, what JavaScript knows of places for roots. */
function withRoots(connect, systemRoots) {
  if (connect.sslMode === 'disable') return connect
  const { entryFolders, roots } = require('./tls')
  const verifies = connect.sslMode.startsWith('verify')
  return { ...connect, entryFolders: entryFolders(), extraRoots: verifies && !systemRoots ? roots() : undefined }
}

function make(name, settings) {
  const connect = withRoots(settings.connect, settings.systemRoots)
  const [first] = connect.hosts
  const pool = new Pool({
    ...settings.pool,
    host: first.host,
    port: first.port,
    user: connect.user,
    database: connect.database,
    password: connect.password,
    ssl: connect.sslMode !== 'disable',
    keepAlive: true,
    allowExitOnIdle: true,
    log: (text) => {
      if (typeof text === 'string' && text.startsWith('[heys-db] WARNING')) console.warn(tagOf(name), text)
    },
  })
  // Holds the password, which must not show when the pool is logged.
  Object.defineProperty(pool.options, 'heysConnect', { enumerable: false, value: connect })
  // The same pool of other threads keeps to one limit with this one.
  const limit = JSON.stringify([name, connect.hosts, connect.user, connect.database])
  Object.defineProperty(pool.options, 'heysLimit', { enumerable: false, value: limit })
  observe(pool, name, String(settings.logLevel).toLowerCase() === 'debug')
  return pool
}

/**
 * The shared pool, made at first use; opens no socket. With a name and POOL_PER_FUNCTION_METRICS=true, the pool of that
 * name.
 */
function getPool(name) {
  const known = pools.get(name || UNNAMED)
  if (known !== undefined) return known
  const settings = driver.load().environment(process.env)
  const chosen = name && settings.perFunctionMetrics ? name : UNNAMED
  let pool = pools.get(chosen)
  if (pool === undefined) {
    pool = make(chosen, settings)
    pools.set(chosen, pool)
  }
  return pool
}

/** Every shared pool that there is. */
function getAllPools() {
  return [...pools].map(([name, pool]) => ({
    name,
    pool,
    metrics: { total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount },
  }))
}

/** Ends every shared pool. A getPool() from now on makes a new one. */
async function closePool() {
  const ending = [...pools.values()]
  pools.clear()
  await Promise.all(ending.map((pool) => (pool.ending ? undefined : pool.end())))
}

/** Runs `fn` with a client, which is released whatever happens. */
async function withClient(fn) {
  const client = await getPool().connect()
  const { release } = client
  let released = false
  // fn may release by itself; then there is nothing left to do here, and a second release of its own still throws.
  client.release = (error) => {
    release(error)
    released = true
  }
  try {
    return await fn(client)
  } finally {
    if (!released) client.release()
  }
}

function beginning({ isolation, readOnly }) {
  let text = 'BEGIN'
  if (isolation !== undefined) {
    const level = String(isolation).toUpperCase()
    if (!ISOLATION.has(level)) throw new TypeError(`Not an isolation level: ${isolation}`)
    text += ` ISOLATION LEVEL ${level}`
  }
  if (readOnly) text += ' READ ONLY'
  return text
}

/** The server answered COMMIT with ROLLBACK: a statement had failed, and its error was swallowed. */
function rolledBack() {
  const error = new Error(
    'The transaction was rolled back instead of committed: one of its statements had failed, and its error was not ' +
      'passed on. Nothing was saved.',
  )
  error.code = 'HEYS_COMMIT_ROLLED_BACK'
  return error
}

function attempt(begin, fn) {
  return withClient(async (client) => {
    await client.query(begin)
    let value
    try {
      value = await fn(client)
      const { command } = await client.query('COMMIT')
      if (command === 'ROLLBACK') throw rolledBack()
    } catch (error) {
      const status = client.getTransactionStatus()
      if (status === 'T' || status === 'E') await client.query('ROLLBACK').catch(() => client.release(true))
      throw error
    }
    return value
  })
}

/**
 * BEGIN, `fn(client)`, COMMIT; ROLLBACK when fn fails. Resolves what fn resolves.
 *
 * `isolation` and `readOnly` go into BEGIN. `retries` (0): how many more times to run all of it, with a growing random
 * pause, after a serialization failure or a deadlock; fn must bear being run again.
 */
async function withTransaction(fn, options = {}) {
  const begin = beginning(options)
  const retries = options.retries || 0
  for (let tries = 0; ; tries++) {
    try {
      return await attempt(begin, fn)
    } catch (error) {
      if (tries >= retries || !error || !RETRYABLE.has(error.code)) throw error
      const pause = Math.random() * RETRY_BASE_MILLIS * 2 ** Math.min(tries, 6)
      await new Promise((resolve) => setTimeout(resolve, pause))
    }
  }
}

module.exports = { getPool, getAllPools, closePool, withClient, withTransaction, UNNAMED }
