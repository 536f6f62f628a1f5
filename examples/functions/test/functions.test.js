'use strict'

/** Real events for every route of the five functions, against a real server, on heys-db or (HEYS_PROVIDER=pg) on pg. */

const assert = require('node:assert/strict')
const crypto = require('node:crypto')
const http = require('node:http')
const { after, before, describe, test } = require('node:test')
const postgres = require('./database')
const { ORIGIN, call, context, event, load } = require('./layout')

const MARIA = 'a0000000-0000-4000-8000-000000000001'
const OBRIEN = 'a0000000-0000-4000-8000-000000000002'
const NOBODY = 'a0000000-0000-4000-8000-00000000ffff'

let server
const loaded = {}

/** Loaded on first use, each with its own pool, as in a container of its own. */
function handler(name, poolMax = '3') {
  process.env.POOL_MAX_SIZE = poolMax
  loaded[name] ??= load(name)
  return loaded[name].handler
}

before(async () => {
  server = await postgres.start()
  Object.assign(process.env, server.env, { HEYS_ENCRYPTION_KEY: "it's secret", PAYMENT_WEBHOOK_SECRET: 'hook' })
})

after(async () => {
  for (const { database } of Object.values(loaded)) await database.closePool()
  const { rows } = await server.query(
    `SELECT count(*)::int AS n FROM pg_stat_activity
     WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND state <> 'active'`,
  )
  await server.stop()
  assert.equal(rows[0].n, 0, 'connections left after closePool')
})

describe('every function', () => {
  const names = ['heys-api-rpc', 'heys-api-rest', 'heys-api-auth', 'heys-api-leads', 'heys-api-payments']
  for (const name of names) {
    test(`${name} answers OPTIONS with 204 and the origin's headers`, async () => {
      const answer = await call(handler(name), 'OPTIONS', '/')
      assert.equal(answer.statusCode, 204)
      assert.equal(answer.headers['Access-Control-Allow-Origin'], ORIGIN)
      assert.match(answer.headers['Access-Control-Allow-Methods'], /POST, .*OPTIONS|POST, OPTIONS/)
    })
    test(`${name} refuses an unknown origin with 403, in either case of the header`, async () => {
      for (const key of ['Origin', 'origin']) {
        const headers = { Origin: undefined, [key]: 'https://evil.example' }
        const answer = await call(handler(name), 'POST', '/', { headers, body: {} })
        assert.equal(answer.statusCode, 403)
        assert.equal(answer.headers['Access-Control-Allow-Origin'], undefined)
      }
    })
    test(`${name} answers 405 to a method it does not have`, async () => {
      assert.equal((await call(handler(name), 'TRACE', '/')).statusCode, 405)
    })
  }
})

describe('rpc', () => {
  const rpc = (fn, body, more) => call(handler('heys-api-rpc', '5'), 'POST', '/rpc', { query: { fn }, body, ...more })

  test('one row is an object, typed as node-postgres types it', async () => {
    const { statusCode, body } = await rpc('get_client_profile', { p_client_id: MARIA })
    assert.equal(statusCode, 200)
    assert.equal(body.weight, '64.50')
    assert.deepEqual(body.tags, ['vegetarian', 'early bird'])
    assert.deepEqual(body.profile, { goal: 'maintain', height: 168 })
    assert.ok(!Number.isNaN(Date.parse(body.created_at)))
  })
  test('several rows are an array, none is null', async () => {
    const days = await rpc('list_client_days', { p_client_id: MARIA, p_from: '2025-01-01', p_to: '2025-01-05' })
    assert.equal(days.body.length, 5)
    assert.equal(days.body[0].kcal, '1800.5')
    assert.equal((await rpc('get_client_profile', { p_client_id: NOBODY })).body, null)
  })
  test('a scalar function gives {fn: value}; a created client is audited after the answer', async () => {
    const made = await rpc('create_pending_client', { p_name: 'Ж', p_phone: '+79991112233', p_pin: '9876' })
    assert.match(made.body.create_pending_client, /^[0-9a-f-]{36}$/)
    assert.deepEqual((await rpc('verify_client_pin', { p_phone: '+79991112233', p_pin: '9876' })).body, {
      verify_client_pin: true,
    })
    const audited = "SELECT detail FROM audit_log WHERE action = 'create_pending_client'"
    let rows = []
    while (rows.length === 0) ({ rows } = await server.query(audited))
    assert.deepEqual(rows[0].detail, { phone: '2233' })
  })
  test('positional arguments, cast and uncast, among them an array', async () => {
    const first = 'b0000000-0000-4000-8000-000000000001'
    const { body } = await rpc('search_products', { p_query: 'Product 1', p_limit: 3, p_exclude: [first] })
    assert.deepEqual(
      body.map((row) => row.name),
      ['Product 10', 'Product 100', 'Product 11'],
    )
  })
  test('P0001 is an answer with the message and the hint', async () => {
    for (let i = 0; i < 5; i++) await rpc('verify_client_pin', { p_phone: '+79990000002', p_pin: 'wrong' })
    const locked = await rpc('verify_client_pin', { p_phone: '+79990000002', p_pin: '4321' })
    assert.equal(locked.statusCode, 200)
    assert.deepEqual(locked.body, { error: 'pin_locked', hint: 'Ask the curator to unlock it.' })
  })
  test('23514 names the constraint; another error is 500 with its code', async () => {
    const check = await rpc('set_subscription_status', { p_client_id: MARIA, p_status: 'golden' })
    assert.equal(check.statusCode, 400)
    assert.deepEqual(check.body, { error: 'CHECK_VIOLATION', constraint: 'clients_subscription_status' })
    const wrong = await rpc('get_client_profile', { p_client_id: 'not-a-uuid' })
    assert.equal(wrong.statusCode, 500)
    assert.equal(wrong.body.code, '22P02')
  })
  test('the audit row of a transaction that rolled back is there', async () => {
    const refused = await rpc('spend_credits', { p_client_id: MARIA, p_amount: 11, p_reason: 'too much' })
    assert.deepEqual(refused.body, { error: 'CHECK_VIOLATION', constraint: 'clients_credits_not_negative' })
    const spent = await rpc('spend_credits', { p_client_id: MARIA, p_amount: 4, p_reason: 'call' })
    assert.deepEqual(spent.body, { spend_credits: 6 })
    const { rows } = await server.query(
      "SELECT detail->>'amount' AS amount, host(ip) AS ip FROM audit_log WHERE action = 'spend_credits' ORDER BY id",
    )
    assert.deepEqual(rows, [
      { amount: '11', ip: '203.0.113.7' },
      { amount: '4', ip: '203.0.113.7' },
    ])
  })
  test('twelve nested checkouts at once on five connections all end under admission', async () => {
    const spend = () => rpc('spend_credits', { p_client_id: OBRIEN, p_amount: 0, p_reason: 'nested' })
    const answers = await Promise.all(Array.from({ length: 12 }, spend))
    assert.deepEqual(
      answers.map((answer) => answer.statusCode),
      Array(12).fill(200),
    )
  })
  test('notes are encrypted with the key of the session', async () => {
    assert.match((await rpc('add_note', { p_client_id: MARIA, p_text: 'тайна' })).body.add_note, /^\d+$/)
    const notes = await rpc('list_notes', { p_client_id: MARIA })
    assert.equal(notes.body[0].note, 'тайна')
  })
  test('bodies: an object, base64, too large, not JSON, unknown argument and function', async () => {
    const base64 = Buffer.from(JSON.stringify({ p_client_id: MARIA })).toString('base64')
    assert.equal((await rpc('get_client_profile', base64, { isBase64Encoded: true })).body.id, MARIA)
    const asObject = { ...event('POST', '/rpc', { query: { fn: 'get_client_profile' } }), body: { p_client_id: MARIA } }
    assert.equal((await handler('heys-api-rpc')(asObject, context)).statusCode, 200)
    assert.equal((await rpc('get_client_profile', 'x'.repeat(512 * 1024 + 1))).statusCode, 413)
    assert.equal((await rpc('get_client_profile', '{"p_client_id"')).statusCode, 400)
    assert.equal((await rpc('get_client_profile', { nope: 1 })).body.error, 'UNKNOWN_ARGUMENT')
    assert.equal((await rpc('pg_sleep', {})).statusCode, 404)
    assert.equal((await rpc('constructor', {})).statusCode, 404)
  })
})

describe('rest', () => {
  const rest = (method, table, options) => call(handler('heys-api-rest'), method, `/rest/${table}`, options)
  const get = async (table, query) => (await rest('GET', table, { query })).body

  test('filters take strings against uuid, numeric, boolean, date and array columns', async () => {
    assert.equal((await get('clients', { id: `eq.${MARIA}`, select: 'name' }))[0].name, 'Мария')
    assert.equal((await get('days', { kcal: 'gte.2000', done: 'is.true', select: 'day' })).length > 0, true)
    assert.equal((await get('days', { day: 'lt.2025-01-03' })).length, 2)
    assert.equal((await get('days', { done: 'eq.true', limit: '5', order: 'day.desc' })).length, 5)
    assert.equal((await get('clients', { name: "eq.O'Brien", weight: 'is.null' })).length, 1)
    assert.equal((await get('clients', { tags: 'contains.{vegetarian}' })).length, 1)
    assert.equal((await get('shared_products', { name: 'in.(Product 1,Product 2)' })).length, 2)
    assert.equal((await get('shared_products', { name: 'ilike.product 1%', gi: 'neq.21' })).length, 11)
    assert.equal(
      (await get('clients', { created_at: 'gt.2020-01-01T00:00:00Z', id: `neq.${MARIA}` })).length >= 1,
      true,
    )
    assert.deepEqual(await get('shared_products', { select: 'name', order: 'kcal100', limit: '1', offset: '1' }), [
      { name: 'Product 2' },
    ])
  })
  test('400 for an unknown column, operator, limit or value; 404 for an unknown table', async () => {
    for (const query of [
      { nope: 'eq.1' },
      { id: 'like' },
      { limit: '1;DROP' },
      { id: 'eq.1' },
      { select: 'pin_hash' },
    ]) {
      assert.equal((await rest('GET', 'clients', { query })).statusCode, 400, JSON.stringify(query))
    }
    assert.equal((await rest('GET', 'pg_authid', {})).statusCode, 404)
    assert.equal((await rest('DELETE', 'days', {})).body.error, 'FILTER_REQUIRED')
  })
  test('a row: insert, duplicate 409, upsert, patch with object, array and null, delete', async () => {
    const day = { client_id: OBRIEN, day: '2025-03-01', kcal: '1999.25', meals: [{ name: 'soup' }] }
    const made = await rest('POST', 'days', { body: day })
    assert.equal(made.statusCode, 201)
    assert.deepEqual(made.body.meals, [{ name: 'soup' }])
    const again = await rest('POST', 'days', { body: day })
    assert.deepEqual([again.statusCode, again.body], [409, { error: 'DUPLICATE', constraint: 'days_client_day' }])
    const upserted = await rest('POST', 'days', {
      body: { ...day, kcal: null },
      query: { on_conflict: 'client_id,day' },
    })
    assert.deepEqual([upserted.statusCode, upserted.body.kcal], [201, null])
    const patched = await rest('PATCH', 'clients', {
      query: { id: `eq.${OBRIEN}` },
      body: { profile: { a: [1, null] }, tags: ['x', 'y "z"'], birth_date: null },
    })
    assert.deepEqual(patched.body[0].profile, { a: [1, null] })
    assert.deepEqual(patched.body[0].tags, ['x', 'y "z"'])
    const gone = await rest('DELETE', 'days', { query: { client_id: `eq.${OBRIEN}`, day: 'eq.2025-03-01' } })
    assert.deepEqual(gone.body, { count: 1 })
  })
  test('23503 is 409, 23514 is 400', async () => {
    assert.equal((await rest('POST', 'days', { body: { client_id: NOBODY, day: '2025-01-01' } })).statusCode, 409)
    const broken = { query: { id: `eq.${OBRIEN}` }, body: { subscription_status: 'gone' } }
    assert.equal((await rest('PATCH', 'clients', broken)).body.constraint, 'clients_subscription_status')
  })
  test('a batch of 500 rows of 26 columns, twice, counts its rows', async () => {
    const numbers = 'kcal100 protein100 fat100 good_fat100 trans_fat100 carbs100 simple100 complex100 fiber100 sugar100'
    const rows = Array.from({ length: 500 }, (_, i) => ({
      id: crypto.randomUUID(),
      fingerprint: `batch-${i}`,
      name: `B ${i}`,
      brand: i % 2 ? null : 'b',
      barcode: String(i),
      ...Object.fromEntries(numbers.split(' ').map((name, n) => [name, i + n / 10])),
      salt100: 1,
      sodium100: 2,
      gi: i % 100,
      harm: '0.5',
      nova_group: 1,
      portion_g: null,
      tags: ['a', 'b'],
      extra: [i],
      is_public: true,
      created_by: MARIA,
      updated_at: '2025-01-01T00:00:00Z',
    }))
    assert.equal(Object.keys(rows[0]).length, 26)
    for (let round = 0; round < 2; round++) {
      const upsert = { query: { on_conflict: 'fingerprint' }, body: rows }
      assert.deepEqual((await rest('POST', 'shared_products', upsert)).body, { count: 500 })
    }
    assert.equal((await rest('POST', 'days', { body: Array(501).fill({}) })).statusCode, 413)
  })
  test('key-value rows rise by one revision each under their lock', async () => {
    const row = (key, value) => ({ client_id: MARIA, key, value })
    const write = (...rows) => rest('POST', 'client_kv', { body: rows })
    await Promise.all([write(row('a', 1)), write(row('b', { deep: [] }), row('c', null))])
    await Promise.all(Array.from({ length: 8 }, (_, i) => write(row('a', i))))
    assert.deepEqual(await get('client_kv', { key: 'eq.a', select: 'revision' }), [{ revision: '9' }])
  })
})

describe('auth', () => {
  const auth = (name, body, options = {}) =>
    call(handler('heys-api-auth'), 'POST', `/auth/${name}`, { body, ...options })
  const clients = (token, options = {}) =>
    call(handler('heys-api-auth'), 'GET', '/auth/clients', { headers: { 'x-session-token': token }, ...options })
  const account = { email: 'new@heys.example', password: 'long enough', name: 'New' }

  test('register, duplicate 409 by its constraint, unverified 403, verify, login', async () => {
    const registered = await auth('register', account)
    assert.equal(registered.statusCode, 201)
    assert.equal((await auth('register', account)).body.error, 'EMAIL_TAKEN')
    assert.equal((await auth('register', account)).statusCode, 409)
    assert.equal((await auth('login', account)).statusCode, 403)
    assert.equal((await auth('verify', { token: 'wrong' })).statusCode, 400)
    assert.equal((await auth('verify', { token: registered.body.verifyToken })).statusCode, 200)
    const session = await auth('login', account)
    assert.equal(session.statusCode, 200)
    assert.deepEqual((await clients(session.body.token)).body, [])
  })
  test('400 for missing fields, a short password, a broken address; 404 for an unknown route', async () => {
    assert.equal((await auth('register', { email: 'a@b' })).statusCode, 400)
    assert.equal((await auth('register', { email: 'a@b', password: 'short' })).body.error, 'PASSWORD_TOO_SHORT')
    assert.equal((await auth('register', { email: 'nobody', password: 'long enough' })).body.error, 'INVALID_EMAIL')
    assert.equal((await auth('nothing', {})).statusCode, 404)
    assert.equal((await auth('login', 'x'.repeat(64 * 1024 + 1))).statusCode, 413)
  })
  test('login, the clients of the curator, one of them, logout', async () => {
    const { body } = await auth('login', { email: 'anna@heys.example', password: 'correct horse' })
    assert.equal((await clients(body.token)).body.length, 2)
    const one = await clients(body.token, { pathParameters: { clientId: MARIA } })
    assert.deepEqual(
      one.body.map((row) => row.name),
      ['Мария'],
    )
    const unfilled = await clients(body.token, { pathParameters: { clientId: '{clientId}' } })
    assert.equal(unfilled.body.length, 2)
    assert.equal((await clients(body.token, { query: { clientId: 'x' } })).statusCode, 400)
    const bearer = { headers: { authorization: `Bearer ${body.token}` } }
    assert.equal((await auth('logout', undefined, bearer)).statusCode, 200)
    assert.equal((await clients(body.token)).statusCode, 401)
    assert.equal((await call(handler('heys-api-auth'), 'GET', '/auth/clients')).statusCode, 401)
  })
  test('a second factor stands between login and the clients', async () => {
    // RFC 6238, appendix B: this secret at 59 s gives 94287082, of which six digits are 287082.
    const secret = Buffer.from('12345678901234567890')
    await server.query("UPDATE curators SET mfa_secret = $1 WHERE email = 'new@heys.example'", [secret])
    const { body } = await auth('login', account)
    assert.equal(body.mfaRequired, true)
    assert.equal((await clients(body.token)).statusCode, 401)
    const headers = { 'X-Session-Token': body.token }
    assert.equal((await auth('mfa', { code: 'abcdef' }, { headers })).body.error, 'WRONG_CODE')
    const realNow = Date.now
    Date.now = () => 59_000
    try {
      assert.equal((await auth('mfa', { code: '287082' }, { headers })).statusCode, 200)
    } finally {
      Date.now = realNow
    }
    assert.equal((await clients(body.token)).statusCode, 200)
  })
  test('the sixth wrong login within 15 minutes is 429', async () => {
    const wrong = { email: 'anna@heys.example', password: 'guess' }
    const codes = []
    for (let i = 0; i < 6; i++) codes.push((await auth('login', wrong)).statusCode)
    assert.deepEqual(codes, [401, 401, 401, 401, 401, 429])
  })
  test('nine logins at once, two clients each on three connections, all end under admission', async () => {
    const login = (_, i) => auth('login', { email: `nobody${i}@heys.example`, password: 'guess' })
    const answers = await Promise.all(Array.from({ length: 9 }, login))
    assert.deepEqual(
      answers.map((answer) => answer.statusCode),
      Array(9).fill(401),
    )
  })
})

describe('leads', () => {
  const lead = (body, options) => call(handler('heys-api-leads'), 'POST', '/leads', { body, ...options })

  test('a lead is stored, undefined fields as NULL, and told once', async () => {
    const told = []
    const messenger = http.createServer((request, response) => {
      request.on('data', (data) => told.push(JSON.parse(data))).on('end', () => response.end())
    })
    await new Promise((resolve) => messenger.listen(0, '127.0.0.1', resolve))
    process.env.LEADS_NOTIFY_URL = `http://127.0.0.1:${messenger.address().port}/`
    try {
      const first = await lead({ name: 'Пётр', phone: '+7 (999) 123-45-67', utm: { source: 'ad' } })
      assert.deepEqual([first.statusCode, first.body.notified], [201, true])
      const second = await lead({ name: 'Пётр', phone: '+79991234567' })
      assert.deepEqual([second.statusCode, second.body.duplicate, second.body.id], [200, true, first.body.id])
      assert.equal(told.length, 1)
      const { rows } = await server.query('SELECT messenger, utm, repeats, notified_at FROM leads')
      assert.deepEqual([rows[0].messenger, rows[0].utm, rows[0].repeats], [null, { source: 'ad' }, 1])
      assert.ok(rows[0].notified_at instanceof Date)
    } finally {
      delete process.env.LEADS_NOTIFY_URL
      messenger.closeAllConnections()
      await new Promise((resolve) => messenger.close(resolve))
    }
  })
  test('400 for a missing field and a wrong phone; a silent messenger loses no lead', async () => {
    assert.equal((await lead({ name: 'x' })).statusCode, 400)
    assert.equal((await lead({ name: 'x', phone: '12' })).body.error, 'INVALID_PHONE')
    process.env.LEADS_NOTIFY_URL = 'http://127.0.0.1:1/'
    const kept = await lead({ name: 'Анна', phone: '+79990001122' })
    delete process.env.LEADS_NOTIFY_URL
    assert.deepEqual([kept.statusCode, kept.body.notified], [201, false])
  })
})

describe('payments', () => {
  const payments = (method, name, options) => call(handler('heys-api-payments'), method, `/payments/${name}`, options)
  const sign = (text) => crypto.createHmac('sha256', 'hook').update(text).digest('hex')
  const hook = (body, signature) => {
    const text = JSON.stringify(body)
    return payments('POST', 'webhook', { body: text, headers: { 'x-signature': signature ?? sign(text) } })
  }
  let provider
  let paymentId
  let providerDown = false

  before(async () => {
    provider = http.createServer((request, response) => {
      request.resume().on('end', () => {
        response.statusCode = providerDown ? 503 : 200
        response.end(JSON.stringify({ id: 'pay-1', confirmationUrl: 'https://pay.example/1' }))
      })
    })
    await new Promise((resolve) => provider.listen(0, '127.0.0.1', resolve))
    process.env.PAYMENT_API_BASE = `http://127.0.0.1:${provider.address().port}`
  })
  after(() => {
    provider.closeAllConnections()
    provider.close()
  })

  test('create: the amount is exact, an unknown plan 400, an unknown client 404', async () => {
    const made = await payments('POST', 'create', { body: { clientId: MARIA, plan: 'month' } })
    assert.equal(made.statusCode, 201)
    assert.equal(made.body.amount, '990.00')
    paymentId = made.body.id
    const unknown = { body: { clientId: MARIA, plan: 'century' } }
    assert.equal((await payments('POST', 'create', unknown)).statusCode, 400)
    const nobody = { body: { clientId: NOBODY, plan: 'month' } }
    assert.equal((await payments('POST', 'create', nobody)).statusCode, 404)
  })
  test('webhook: a wrong signature is 401; one event counts once, also when it comes five times at once', async () => {
    const body = { event: 'payment.succeeded', id: 'pay-1' }
    assert.equal((await hook(body, 'ff')).statusCode, 401)
    const answers = await Promise.all(Array.from({ length: 5 }, () => hook(body)))
    assert.equal(answers.filter((answer) => answer.body.duplicate === false).length, 1)
    assert.equal(answers.filter((answer) => answer.statusCode === 200).length, 5)
    const { body: state } = await payments('GET', 'status', { query: { id: paymentId } })
    assert.equal(state.status, 'succeeded')
    // paid_at came from RETURNING and went back as a Date: milliseconds are kept.
    const { rows } = await server.query(
      `SELECT date_trunc('milliseconds', p.paid_at) = s.started_at AS same,
         s.paid_until - p.paid_at = '30 days'::interval AS month, p.meta
       FROM payments p JOIN subscriptions s USING (client_id)`,
    )
    assert.equal(rows[0].same, true)
    assert.equal(rows[0].month, true)
    assert.deepEqual(rows[0].meta, { source: 'web', confirmation: 'https://pay.example/1', settled: true })
  })
  test('webhook: an event of an unknown payment leaves nothing behind', async () => {
    assert.equal((await hook({ event: 'payment.succeeded', id: 'unknown' })).statusCode, 404)
    const { rowCount } = await server.query("SELECT FROM payment_events WHERE provider_id = 'unknown'")
    assert.equal(rowCount, 0)
  })
  test('refund: in part, too large 400, provider down 502 and rolled back, the rest, then 409', async () => {
    const refund = (amount) => payments('POST', 'refund', { body: { id: paymentId, amount } })
    assert.deepEqual((await refund('90.50')).body, { amount: '990.00', refunded: '90.50', status: 'succeeded' })
    assert.equal((await refund('900')).body.error, 'REFUND_TOO_LARGE')
    providerDown = true
    assert.equal((await refund('1')).statusCode, 502)
    providerDown = false
    assert.equal((await refund('899.50')).body.status, 'refunded')
    assert.equal((await refund('1')).statusCode, 409)
  })
  test('status: 404 and 400; health; unknown route 404', async () => {
    assert.equal((await payments('GET', 'status', { query: { id: NOBODY } })).statusCode, 404)
    assert.equal((await payments('GET', 'status', { query: { id: '1' } })).statusCode, 400)
    assert.equal((await payments('GET', 'health')).body.healthy, true)
    assert.equal((await payments('GET', 'refund')).statusCode, 404)
  })
})
