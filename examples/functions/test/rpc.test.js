'use strict'

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { call, context, event } = require('./layout')
const { MARIA, NOBODY, OBRIEN, functionSuite } = require('./suite')

const suite = functionSuite('heys-api-rpc', { POOL_MAX_SIZE: '5', HEYS_ENCRYPTION_KEY: "it's secret" })
const { handler } = suite

const rpc = (fn, body, more) => call(handler, 'POST', '/rpc', { query: { fn }, body, ...more })

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
  while (rows.length === 0) ({ rows } = await suite.query(audited))
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
  const { rows } = await suite.query(
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
  assert.equal((await handler(asObject, context)).statusCode, 200)
  assert.equal((await rpc('get_client_profile', 'x'.repeat(512 * 1024 + 1))).statusCode, 413)
  assert.equal((await rpc('get_client_profile', '{"p_client_id"')).statusCode, 400)
  assert.equal((await rpc('get_client_profile', { nope: 1 })).body.error, 'UNKNOWN_ARGUMENT')
  assert.equal((await rpc('pg_sleep', {})).statusCode, 404)
  assert.equal((await rpc('constructor', {})).statusCode, 404)
})
