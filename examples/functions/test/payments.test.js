'use strict'

const assert = require('node:assert/strict')
const crypto = require('node:crypto')
const http = require('node:http')
const { after, before, test } = require('node:test')
const { call } = require('./layout')
const { MARIA, NOBODY, functionSuite } = require('./suite')

const suite = functionSuite('heys-api-payments', { PAYMENT_WEBHOOK_SECRET: 'hook' })
const { handler } = suite

const payments = (method, name, options) => call(handler, method, `/payments/${name}`, options)
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
  const { rows } = await suite.query(
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
  const { rowCount } = await suite.query("SELECT FROM payment_events WHERE provider_id = 'unknown'")
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
