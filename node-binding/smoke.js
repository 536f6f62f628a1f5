'use strict'
// Works the native border alone against a PostgreSQL: node smoke.js ADDON PORT
const assert = require('node:assert/strict')
const { Worker, isMainThread, workerData } = require('node:worker_threads')

const [addon, port] = isMainThread ? process.argv.slice(2) : workerData
const load = () => {
  const module = { exports: {} }
  process.dlopen(module, addon)
  return module.exports
}

/** Promises over the border, as small as they can be. */
function open() {
  const native = load()
  const words = new Int32Array(32768)
  const waiting = new Map()
  const sessions = new Map()
  const shapes = []
  let next = 1
  const hooks = {
    onConnect(request, id, pid, key, params, notices, tls, address) {
      const session = { id, pid, key, params, tls, address, queue: [], events: [], closed: null }
      session.done = new Promise((resolve) => (session.closed = resolve))
      sessions.set(id, session)
      waiting.get(request).resolve(session)
    },
    onConnectError: (request, error) => waiting.get(request).reject(error),
    onPassword: (request) => waiting.get(request).password(request),
    onCancelled: (request, error) => (error ? waiting.get(request).reject(error) : waiting.get(request).resolve()),
    onShape(id, fields) {
      const kinds = fields.map((f) => (f.format === 'binary' ? 3 : f.dataTypeID === 23 ? 1 : f.dataTypeID === 16 ? 2 : 0))
      shapes[id] = { fields, kinds }
      return Uint8Array.from(kinds)
    },
    onRecords(id, length, text, extra) {
      const session = sessions.get(id)
      let i = 0
      let x = 0
      let result = session.queue[0]
      while (i < length) {
        switch (words[i]) {
          case 0:
            result.fields = shapes[words[i + 1]].fields
            i += 2
            break
          case 1: {
            const shape = shapes[words[i + 1]]
            const rows = words[i + 2]
            const hold = words[i + 3]
            i += 4
            let at = 0
            result.batches = (result.batches || 0) + 1
            for (let r = 0; r < rows; r++) {
              const row = []
              for (const kind of shape.kinds) {
                const cell = words[i++]
                if (hold && kind === 1) row.push(cell === -2147483648 ? null : cell)
                else if (hold && kind === 2) row.push(cell < 0 ? null : cell === 1)
                else row.push(cell < 0 ? null : text.slice(at, (at += cell)))
              }
              result.count++
              if (!result.lean) result.rows.push(row)
              else result.last = row
            }
            assert.equal(at, text.length)
            break
          }
          case 2:
            if (words[i + 1] < 0) result.tags.push(extra[x++])
            else result.tags.push([words[i + 1], words[i + 2] * 2 ** 32 + (words[i + 3] >>> 0)])
            i += 4
            break
          case 4:
            if (result) result.error = extra[x++]
            else session.events.push(extra[x++])
            i++
            break
          case 5:
            result.status = String.fromCharCode(words[i + 1])
            i += 2
            session.queue.shift()
            result.resolve(result)
            result = session.queue[0]
            break
          case 6:
          case 7:
          case 8:
            session.events.push(extra[x++])
            i++
            break
          case 14:
            for (const waiter of session.queue) waiter.reject(extra[x])
            session.closed(extra[x++])
            i++
            break
          default:
            session.events.push(words[i++])
        }
      }
    },
  }
  native.init(hooks, words)
  const ask = (start, password) =>
    new Promise((resolve, reject) => {
      const request = next++
      waiting.set(request, { resolve, reject, password })
      start(request)
    })
  const options = {
    hosts: [{ host: '127.0.0.1', port: Number(port) }],
    database: 'postgres',
    user: 'postgres',
    sslMode: 'disable',
    trust: 'given',
    params: [['application_name', 'smoke'], ['client_encoding', 'UTF8']],
  }
  const result = (session, lean) => {
    const out = { rows: [], tags: [], count: 0, lean }
    const promise = new Promise((resolve, reject) => Object.assign(out, { resolve, reject }))
    session.queue.push(out)
    return promise
  }
  return {
    native,
    words,
    hooks,
    connect: (own, password) => ask((request) => native.connect(request, { ...options, ...own }), password),
    abort: () => ask((request) => (native.connect(request, options), native.abortConnect(request))),
    cancel: (session) => ask((request) => native.cancel(request, session.id)),
    query(session, text, flags = 0, lean = false) {
      native.query(session.id, text, flags)
      return result(session, lean)
    },
    extended(session, text, values, flags = 0, name = '', maxRows = 0) {
      native.extended(session.id, name, text, values, flags, '', maxRows)
      return result(session)
    },
  }
}

async function workers() {
  let exits = 0
  for (let round = 0; round < 20; round++) {
    await Promise.all(
      Array.from({ length: 10 }, (_, i) => {
        const worker = new Worker(__filename, { workerData: [addon, port, i] })
        return new Promise((resolve, reject) => {
          worker.on('error', reject)
          worker.on('exit', () => resolve(exits++))
          if (i % 3 === 0) setTimeout(() => worker.terminate(), 5 * round)
          else worker.on('message', () => worker.terminate())
        })
      }),
    )
  }
  console.log('workers terminated', exits)
}

async function inWorker() {
  const { parentPort } = require('node:worker_threads')
  const db = open()
  const session = await db.connect()
  const second = await db.connect()
  db.query(session, 'select pg_sleep(10)').catch(() => {})
  for (let i = 0; i < 10; i++) db.query(second, 'select generate_series(1, 100000)', 0, true).catch(() => {})
  db.connect().catch(() => {})
  setTimeout(() => parentPort.postMessage('busy'), workerData[2])
}

async function main() {
  if (process.argv[4] !== 'here') await workers()
  const db = open()
  const { native, words } = db
  const session = await db.connect()
  console.log('connected', session.pid, session.address, session.params.length)

  let r = await db.query(session, "select 1 as a, 'x' as b, null::int as c, true as d; select 'żółć' as e; create temp table t(i int)")
  assert.deepEqual(r.rows, [[1, 'x', null, true], ['żółć']])
  assert.deepEqual(r.tags.slice(0, 2), [[0, 1], [0, 1]])
  assert.equal(r.status, 'I')

  r = await db.extended(session, 'select $1::text || $2, $3::bytea, $4::int', ['a', 'ü€', Buffer.from([1, 255]), null])
  assert.deepEqual(r.rows, [['aü€', '\\x01ff', null]])
  r = await db.extended(session, 'select $1::bytea, 7', [new Uint16Array([258]).subarray(0, 1)], 2)
  assert.deepEqual(r.rows, [['\x02\x01', '\0\0\0\x07']])
  r = await db.extended(session, 'select $1::int + 1 as n', ['41'], 0, 'named')
  r = await db.extended(session, null, ['42'], 0, 'named')
  assert.deepEqual(r.rows, [[43]])
  r = await db.extended(session, 'select $1::int + 1 as n', ['41'], 1)
  assert.deepEqual(r.rows, [['42']])

  r = await db.query(session, 'select 1/0')
  assert.equal(r.error.code, '22012')
  r = await db.query(session, '')
  assert.equal(r.status, 'I')
  assert.throws(() => native.query(session.id, 'a\0b', 0), TypeError)
  assert.throws(() => native.query(99, 'select 1', 0), TypeError)
  assert.throws(() => native.extended(session.id, '', 'select $1', [{}], 0, '', 0), TypeError)
  r = await db.query(session, "listen ch; notify ch, 'hey'; do $$ begin raise notice 'n'; end $$")
  await db.query(session, '')
  assert.ok(session.events.some((e) => e.channel === 'ch' && e.payload === 'hey'))
  assert.ok(session.events.some((e) => e.message === 'n'))
  r = await db.query(session, 'copy (select generate_series(1,1000)) to stdout')
  assert.deepEqual(r.tags, [[8, 1000]])
  r = await db.query(session, 'copy t from stdin')
  assert.equal(r.error.code, '57014')
  r = await db.query(session, `select ${Array.from({ length: 1600 }, (_, i) => `${i}||'' as c${i}`)} from generate_series(1,50)`)
  assert.equal(r.rows.length, 50)
  assert.equal(r.rows[49][1599], '1599')
  r = await db.query(session, `select ${Array.from({ length: 1600 }, (_, i) => `${i} as c${i}`)} from generate_series(1,500)`)
  assert.equal(r.rows.length, 500)
  assert.equal(r.rows[499][1599], 1599)
  r = await db.query(session, "select repeat('x', 50000000)")
  assert.equal(r.rows[0][0].length, 50000000)
  r = await db.extended(session, 'select length($1)', ['é'.repeat(20000000)])
  assert.deepEqual(r.rows, [[20000000]])
  console.log('queries right')

  let t = process.hrtime.bigint()
  r = await db.query(session, "select g, 'row ' || g, g % 2 = 0 from generate_series(1, 1000000) g", 0, true)
  assert.deepEqual([r.count, r.last], [1000000, [1000000, 'row 1000000', true]])
  console.log('a million rows in', Number(process.hrtime.bigint() - t) / 1e6, 'ms,', r.batches, 'batches')

  const many = await Promise.all(Array.from({ length: 1000 }, (_, i) => db.extended(session, 'select $1::int', [String(i)])))
  assert.deepEqual(many.map((m) => m.rows[0][0]), Array.from({ length: 1000 }, (_, i) => i))

  const slow = db.query(session, 'select pg_sleep(20)')
  setTimeout(() => db.cancel(session).then(() => console.log('cancel connection closed')), 50)
  r = await slow
  assert.equal(r.error.code, '57014')
  await assert.rejects(db.abort(), (e) => e.kind === 'cancelled')
  await assert.rejects(db.connect({ hosts: [{ host: '127.0.0.1', port: 1 }] }), (e) => e.code === 'ECONNREFUSED')
  await assert.rejects(db.connect({ hosts: [{ host: 'no.such.host.invalid', port: 1 }] }), (e) => e.kind === 'dns')
  await assert.rejects(db.connect({ database: 'nix' }), (e) => e.kind === 'server' && e.code === '3D000')
  console.log('errors right')

  // The password is asked for.
  await db.query(session, "drop role if exists asked; create role asked login password 'pw'")
  const asked = await db.connect({ user: 'asked' }, (request) => native.password(request, 'pw'))
  native.close(asked.id)
  assert.equal(await asked.done, undefined)

  // A session killed by the server, destroyed and closed ones.
  const other = await db.connect()
  const dying = db.query(other, 'select pg_sleep(20)')
  dying.catch(() => {})
  await db.query(session, `select pg_terminate_backend(${other.pid})`)
  await assert.rejects(dying)
  assert.equal((await other.done).kind, 'closed')
  const third = await db.connect()
  assert.equal(native.peek(third.id), true)
  // Outside a wake-up, so that it is sent at once; then the loop is kept from reading the end of file.
  await new Promise(setImmediate)
  native.query(session.id, `select pg_terminate_backend(${third.pid})`, 0)
  const stop = Date.now() + 2000
  while (native.peek(third.id) && Date.now() < stop);
  assert.equal(native.peek(third.id), false)
  await new Promise((resolve) => session.queue.push({ rows: [], tags: [], count: 0, resolve }))
  native.destroy(third.id)
  await third.done
  const inside = await db.connect()
  await new Promise((resolve) => {
    db.query(inside, 'select generate_series(1,1000000)', 0, true).catch(resolve)
    setTimeout(() => native.destroy(inside.id), 20)
  })
  // Destroyed by the very call that delivers its rows.
  const suicidal = await db.connect()
  const fourth = await db.connect()
  native.pause(fourth.id)
  const held = db.query(fourth, 'select 1')
  await new Promise((resolve) => setTimeout(resolve, 50))
  native.resume(fourth.id)
  await held
  const gone = db.query(fourth, 'select 2')
  native.close(fourth.id)
  assert.deepEqual((await gone).rows, [[2]])
  assert.equal(await fourth.done, undefined)
  db.query(suicidal, 'select 1').then(() => native.destroy(suicidal.id))
  assert.equal(await suicidal.done, undefined)

  // The pool machine.
  const pool = native.poolNew(2, 0, 10000, 1000, 0, 0, true, 5000)
  let n = native.poolAcquire(pool)
  const waiter = words[0]
  assert.deepEqual([n, words[1]], [3, 1])
  const conn = words[2]
  const pooled = await db.connect()
  native.poolBind(pool, conn, pooled.id)
  n = native.poolConnected(pool, conn)
  assert.deepEqual([...words.slice(0, n)], [3, waiter, conn, 1])
  n = native.poolRelease(pool, conn, 0)
  assert.deepEqual([...words.slice(0, n)], [6, conn])
  assert.equal(native.poolIdle(pool), 1)
  assert.ok(native.poolWait(pool) > 9000)
  n = native.poolAcquire(pool)
  assert.deepEqual([...words.slice(1, n)], [3, words[0], conn, 0])
  assert.ok(native.poolRelease(pool, conn, 0) > 0)
  assert.equal(native.poolRelease(pool, conn, 0), -1)
  native.pause(pooled.id)
  await new Promise(setImmediate)
  await db.query(session, `select pg_terminate_backend(${pooled.pid})`)
  while (native.peek(pooled.id));
  n = native.poolAcquire(pool)
  const after = [...words.slice(1, n)]
  assert.deepEqual(after, [7, conn, 0, 1, after[4]])
  native.resume(pooled.id)
  native.poolFree(pool)
  await pooled.done

  // Select by key, one after the other.
  await db.query(session, "create temp table k(id int primary key, name text); insert into k select g, 'name' || g from generate_series(1,1000) g")
  t = process.hrtime.bigint()
  for (let i = 0; i < 10000; i++) await db.extended(session, 'select id, name from k where id = $1', [String(i % 1000)])
  console.log('select by key', Math.round(1e4 / (Number(process.hrtime.bigint() - t) / 1e9)), '/s')
  native.close(session.id)
  assert.equal(await session.done, undefined)
  const settings = native.environment({ PG_HOST: 'h', PG_PASSWORD: 'p', POOL_MAX_SIZE: '5' })
  assert.equal(settings.pool.max, 5)
  assert.equal(settings.connect.sslMode, 'verify-full')
  console.log('smoke passed')
}

;(isMainThread ? main() : inWorker()).catch((error) => {
  console.error(error)
  process.exit(1)
})
