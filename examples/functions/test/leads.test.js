'use strict'

const assert = require('node:assert/strict')
const http = require('node:http')
const { test } = require('node:test')
const { call } = require('./layout')
const { functionSuite } = require('./suite')

const suite = functionSuite('heys-api-leads')
const { handler } = suite

const lead = (body, options) => call(handler, 'POST', '/leads', { body, ...options })

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
    const { rows } = await suite.query('SELECT messenger, utm, repeats, notified_at FROM leads')
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
