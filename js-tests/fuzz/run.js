'use strict'

const { setTimeout: sleep } = require('node:timers/promises')
const { Normal } = require('./normal')
const { statementOf } = require('./scenario')

/** Plays a scenario on one provider and writes down all that its caller sees, in order. */

const HANGS_AFTER = 10000
const TABLE =
  "CREATE TEMP TABLE t (id serial PRIMARY KEY, a text NOT NULL DEFAULT 'd', b int DEFAULT 1 CHECK (b >= 0)); INSERT INTO t (a) VALUES ('first')"

const tick = () => new Promise((resolve) => setImmediate(resolve))

class Play {
  constructor(pg, settings, scenario) {
    this.pg = pg
    this.scenario = scenario
    this.normal = new Normal()
    this.log = []
    this.slots = [undefined, undefined, undefined]
    this.counts = { connect: 0, remove: 0 }
    this.locks = 0
    const { verifies, ...options } = scenario.options
    this.options = { ...settings, ...options }
    this.pool = new pg.Pool({
      ...this.options,
      onConnect: (client) => client.query(TABLE),
      ...(verifies && {
        verify: (client, done) =>
          client.query('SELECT 1', () => done(verifies === 'fails' ? new Error('not verified') : undefined)),
      }),
    })
    this.watchPool()
  }

  say(...parts) {
    this.log.push(parts.join(' '))
  }

  show(value) {
    return this.normal.show(value)
  }

  watchPool() {
    const { pool } = this
    pool.on('connect', (client) => {
      this.counts.connect++
      this.say('event connect', this.normal.pid(client.processID))
      client.on('notice', (notice) => this.say('notice', this.show(notice)))
      client.on('notification', (message) => this.say('notification', this.show(message)))
      client.on('error', (error) => this.say('client error', this.show(error)))
    })
    pool.on('acquire', (client) => this.say('event acquire', this.normal.pid(client.processID)))
    pool.on('release', (error, client) =>
      this.say('event release', this.show(error), this.normal.pid(client.processID)),
    )
    pool.on('remove', () => this.counts.remove++)
    pool.on('error', (error) => this.say('pool error', this.show(error)))
  }

  poolCounts() {
    const { totalCount, idleCount, waitingCount } = this.pool
    this.say('counts', totalCount, idleCount, waitingCount)
  }

  /** What a call threw, or what its promise or callback came to. */
  async outcome(label, call) {
    let timer
    const hung = new Promise((resolve) => {
      timer = setTimeout(() => resolve(['HUNG']), HANGS_AFTER)
    })
    const answer = await Promise.race([hung, this.settle(call)])
    clearTimeout(timer)
    this.say(label, ...answer)
  }

  async settle(call) {
    let returned
    let sync = true
    let back
    const called = new Promise((resolve) => {
      back = (error, result) => {
        resolve([sync && !this.settling ? 'called back at once' : 'called back', this.show(error), this.show(result)])
      }
    })
    try {
      returned = call(back)
    } catch (error) {
      return ['threw', this.show(error)]
    }
    sync = false
    if (returned === called || returned === undefined) return called
    try {
      return ['resolved', this.show(await returned)]
    } catch (error) {
      return ['rejected', this.show(error)]
    }
  }

  async play() {
    for (const [i, step] of this.scenario.steps.entries()) {
      this.say(`step ${i}`, step.do)
      await this[step.do](step)
      await tick()
    }
    for (const [i, client] of this.slots.entries()) if (client) this.release({ slot: i, how: 'plain' })
    if (!this.pool.ending) await this.end()
    for (let i = 0; i < 100 && this.counts.remove < this.counts.connect; i++) await tick()
    return this.log
  }

  // --- steps ------------------------------------------------------------------------------------------------------

  async acquire({ slot, form }) {
    if (this.slots[slot] || this.slots.filter(Boolean).length >= this.options.max) return
    const take = (client) => {
      this.slots[slot] = client
      return client && this.normal.pid(client.processID)
    }
    await this.outcome('acquired', (back) => {
      if (form === 'promise') return this.pool.connect().then(take)
      this.pool.connect((error, client, done) => {
        back(error, [take(client), typeof done, client ? client.release === done : done.length])
      })
    })
    this.poolCounts()
  }

  release({ slot, how }) {
    const client = this.slots[slot]
    if (!client) return
    this.slots[slot] = undefined
    const argument = { true: true, false: false, error: new Error('broken') }[how]
    try {
      this.say('released', this.show(argument === undefined ? client.release() : client.release(argument)))
      if (how === 'twice') client.release()
    } catch (error) {
      this.say('release threw', this.show(error))
    }
    this.poolCounts()
  }

  async query({ slot, form, seed, times = 1 }) {
    const client = this.slots[slot]
    // pg calls the callback of a query whose values throw a second time, with an empty result.
    if (form === 'queryCallback' && !this.isSendable(seed)) form = 'query'
    for (let i = 0; client && i < times; i++) await this.run(client, form, seed)
  }

  async poolQuery({ form, seed, times = 1 }) {
    for (let i = 0; i < times; i++) {
      if (this.slots.filter(Boolean).length < this.options.max) await this.run(this.pool, form, seed)
    }
  }

  async change({ slot, text }) {
    const client = this.slots[slot]
    if (client) await this.outcome('changed', () => client.query(text))
  }

  run(target, form, seed, label = 'query') {
    // What throws is told at once, unless the server still has to answer; pg asks it something even then.
    this.settling = !this.isSendable(seed)
    const statement = this.answerable(target, statementOf(seed))
    return this.outcome(label, (back) => {
      switch (form) {
        case 'callback':
          return target.query(statement, back)
        case 'textValues':
          return target.query(statement.text, statement.values)
        case 'textCallback':
          if (statement.values === undefined) return target.query(statement.text, back)
          return target.query(statement.text, statement.values, back)
        case 'query':
        case 'queryCallback':
          return this.events(target, statement, form, back)
        default:
          return target.query(statement)
      }
    })
  }

  /** After an error of a query with `rows` pg sends no Sync, and its client never hears of anything again. */
  answerable(target, statement) {
    if (statement.rows && (target === this.pool || target.getTransactionStatus() === 'E')) delete statement.rows
    return statement
  }

  /** A Query with events. */
  events(target, statement, form, back) {
    const events = []
    const { text, values, ...more } = statement
    const query = new this.pg.Query(
      { text, values, ...more },
      form === 'queryCallback' ? (...result) => events.push(...result) : undefined,
    )
    query.on('row', (row, result) => events.push(row, result && result.rows.length))
    query.on('end', (result) => back(null, [...events, result]))
    query.on('error', (error) => back(error, events))
    const returned = target.query(query)
    if (returned !== query) this.say('query() returned something else')
    // A callback takes the error instead of the event.
    if (form === 'queryCallback') target.query('SELECT 1', () => setImmediate(back, null, events))
    return undefined
  }

  async burst({ slot, seeds }) {
    const client = this.slots[slot]
    if (!client) return
    await this.together(client, seeds, (i) => (i % 3 === 2 ? 'callback' : 'promise'))
  }

  /** Queries at once: their outcomes in the order of the questions, and in which order callbacks were called. */
  async together(target, seeds, formOf) {
    const before = this.log.length
    const sendable = seeds.filter((seed) => this.isSendable(seed))
    await Promise.all(sendable.map((seed, i) => this.run(target, formOf(i), seed, `query ${i}`)))
    const said = this.log.splice(before)
    const outcomes = said.filter((line) => /^query \d/.test(line))
    this.log.push(...said.filter((line) => !outcomes.includes(line)), ...outcomes.slice().sort())
    const called = outcomes.filter((line) => line.includes('called back')).map((line) => line.split(' ')[1])
    this.say('callbacks in the order', ...called)
  }

  /** A value that throws fails its query within another's end: the microtasks in which both are told say nothing. */
  isSendable(seed) {
    try {
      for (const value of statementOf(seed).values || []) this.pg.utils.prepareValue(value)
      return true
    } catch {
      return false
    }
  }

  /** On one connection, where the order is fixed. */
  async poolBurst({ seeds }) {
    if (this.options.max > 1 || this.slots.some(Boolean)) return
    await this.together(this.pool, seeds, () => 'promise')
  }

  /** A statement held by a lock, ended in one of many ways. */
  async lock({ slot, end }) {
    const client = this.slots[slot]
    if (!client || client.getTransactionStatus() !== 'I' || !client._queryable) return
    const holder = new this.pg.Client(this.options)
    holder.on('error', () => {})
    await holder.connect()
    // Another one each time: whoever got a lock keeps it for its session.
    const key = this.scenario.seed * 1000 + this.locks++
    const { processID } = client
    try {
      await holder.query('BEGIN')
      await holder.query('SELECT pg_advisory_xact_lock($1)', [key])
      const config = { text: `SELECT pg_advisory_lock(${key}) IS NOT NULL AS locked` }
      if (end === 'queryTimeout') config.query_timeout = 150
      if (end === 'statementTimeout') await client.query('SET statement_timeout TO 100')
      const query = new this.pg.Query(config)
      const asObject = end === 'cancelClient'
      const waits = this.outcome('locked', (back) => {
        if (!asObject) return client.query(config)
        query.on('end', (result) => back(null, result)).on('error', (error) => back(error))
        client.query(query)
        return undefined
      })
      await this.untilBlocked(holder, processID, end)
      if (end === 'commit') await holder.query('COMMIT')
      else if (end === 'cancelBackend') await holder.query('SELECT pg_cancel_backend($1)', [processID])
      else if (end === 'terminate') await holder.query('SELECT pg_terminate_backend($1)', [processID])
      else if (end === 'cancelClient') new this.pg.Client(this.options).cancel(client, query)
      await waits
    } finally {
      await holder.query('COMMIT').catch(() => {})
      await holder.end()
    }
    // The server's goodbye comes before the end of its connection.
    for (let i = 0; end === 'terminate' && client._queryable && i < 400; i++) await sleep(5)
    await this.outcome('after it', () => client.query('SELECT 1 AS alive'))
    // Of a later statement, 100 ms would let the machine's load decide.
    if (end === 'statementTimeout') await client.query('SET statement_timeout TO DEFAULT').catch(() => {})
  }

  async untilBlocked(holder, pid, end) {
    const timed = end === 'queryTimeout' || end === 'statementTimeout'
    for (let i = 0; i < 200; i++) {
      const { rows } = await holder.query(
        "SELECT 1 FROM pg_locks WHERE pid = $1 AND locktype = 'advisory' AND NOT granted",
        [pid],
      )
      if (rows.length > 0 || timed) return
    }
  }

  async misuse({ slot, what }) {
    const target = this.slots[slot] || this.pool
    if (target === this.pool && this.slots.filter(Boolean).length >= this.options.max) return
    const calls = [
      () => target.query(),
      () => target.query(null),
      () => target.query(undefined, []),
      (back) => target.query((error) => back(error)),
      () => target.query({}),
      () => target.query('SELECT 1', 'not an array'),
      () => target.connect(),
      () => target.query({ text: 'SELECT 1', name: 'x'.repeat(70) }),
    ]
    // A pool's connect() would check a client out for good; a client's null query is a thrown error of pg-pool's own.
    if (target === this.pool && (what === 6 || what < 3)) return
    await this.outcome('misuse', calls[what])
  }

  async look({ slot }) {
    const client = this.slots[slot]
    if (!client) return
    const { host, port, user, database, ssl, processID, secretKey, binary, pipeline, replication } = client
    const seen = {
      host,
      port,
      user,
      database,
      ssl,
      binary,
      pipeline,
      replication,
      pid: typeof processID,
      key: typeof secretKey,
    }
    this.say(this.show(seen), this.show(client.getTransactionStatus()), this.show(client.connectionParameters))
    this.say(
      this.show(client.escapeLiteral("a'b\\c")),
      this.show(client.escapeIdentifier('a"b')),
      this.show(client.listenerCount('error')),
    )
    this.poolCounts()
  }

  async end() {
    for (const [i, client] of this.slots.entries()) if (client) this.release({ slot: i, how: 'plain' })
    await this.outcome('ended', () => this.pool.end())
    this.say(this.pool.ending, this.pool.ended)
    this.poolCounts()
    await this.outcome('ended again', () => this.pool.end())
    await this.outcome('query after the end', () => this.pool.query('SELECT 1'))
    await this.outcome('connect after the end', (back) => this.pool.connect((...args) => back(args[0], args.length)))
  }
}

/** The transcript of `scenario` on `pg`. */
async function play(pg, settings, scenario) {
  const playing = new Play(pg, settings, scenario)
  const unexpected = (error) => playing.say('unexpected', playing.show(error))
  process.on('unhandledRejection', unexpected)
  process.on('uncaughtException', unexpected)
  try {
    return await playing.play()
  } finally {
    process.off('unhandledRejection', unexpected)
    process.off('uncaughtException', unexpected)
  }
}

module.exports = { play }
