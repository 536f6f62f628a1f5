'use strict'

const assert = require('node:assert/strict')
const { execFile } = require('node:child_process')
const path = require('node:path')
const { describe, it } = require('node:test')
const { promisify } = require('node:util')
const { settings } = require('../server')

/** js-tests/vectors compares every value, cell by cell, with pg's; the process's own time zone decides what a Date is. */
describe('values are those of pg, received and sent', () => {
  for (const zone of ['UTC', 'Europe/Moscow', 'America/New_York', 'Asia/Kolkata']) {
    it(`in the time zone ${zone}`, async () => {
      const { user, password, host, port, database } = await settings()
      const url = `postgres://${user}:${encodeURIComponent(password)}@${host}:${port}/${database}`
      const env = { ...process.env, TZ: zone, HEYS_TEST_PG: url }
      const program = path.join(__dirname, '../vectors/main.js')
      const options = { env, maxBuffer: 1e8 }
      const { stdout } = await promisify(execFile)(process.execPath, [program], options).catch((error) =>
        assert.fail(error.stdout || error),
      )
      const [, cells, differences] = /(\d+) cells, (\d+) differences/.exec(stdout)
      assert.ok(Number(cells) > 25000, `only ${cells} cells`)
      assert.equal(differences, '0')
    })
  }
})
