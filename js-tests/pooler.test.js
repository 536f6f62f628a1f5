'use strict'

const assert = require('node:assert/strict')
const { after, before, describe, it } = require('node:test')
const { pg } = require('./provider')
const { startPgBouncer } = require('./pgbouncer')
const { settings } = require('./server')
const { rejection } = require('./support')

const CALLERS = 64
const ROUNDS = 40

for (const mode of ['session', 'transaction']) {
  describe(`through PgBouncer in ${mode} mode`, () => {
    let bouncer
    let pool

    before(async () => {
      bouncer = await startPgBouncer(await settings(), mode)
      pool = new pg.Pool({ ...bouncer.settings, max: 3, application_name: 'pooled' })
    })
    after(async () => {
      await pool?.end()
      await bouncer?.stop()
    })

    it(`${CALLERS} callers get their own results`, async () => {
      const caller = async (n) => {
        for (let i = 0; i < ROUNDS; i++) {
          const { rows } = await pool.query('SELECT $1::int AS n, $2::text AS text, now() AS at', [n, `${n}:${i} ü`])
          assert.deepEqual([rows[0].n, rows[0].text], [n, `${n}:${i} ü`])
        }
      }
      await Promise.all(Array.from({ length: CALLERS }, (_, n) => caller(n)))
    })

    it('transactions keep together, errors leave nothing behind', async () => {
      await pool.query('DROP TABLE IF EXISTS pooled; CREATE TABLE pooled (n int PRIMARY KEY)')
      const insert = async (n) => {
        const client = await pool.connect()
        try {
          await client.query('BEGIN')
          await client.query('INSERT INTO pooled VALUES ($1)', [n])
          if (n % 3 === 0) throw new Error('no')
          await client.query('COMMIT')
        } catch {
          await client.query('ROLLBACK')
        } finally {
          client.release()
        }
      }
      await Promise.all(Array.from({ length: 60 }, (_, n) => insert(n)))
      assert.equal((await pool.query('SELECT count(*)::int AS n FROM pooled')).rows[0].n, 40)
      assert.equal((await rejection(pool.query('INSERT INTO pooled VALUES (1)'))).code, '23505')
      await pool.query('DROP TABLE pooled')
    })

    it('a statement is cancelled by the server', async () => {
      const client = await pool.connect()
      await client.query('BEGIN')
      await client.query("SET LOCAL statement_timeout TO '50ms'")
      assert.equal((await rejection(client.query('SELECT pg_sleep(10)'))).code, '57014')
      await client.query('ROLLBACK')
      client.release()
    })

    it('startup parameters that it does not know are refused by its own words', async () => {
      const client = new pg.Client({ ...bouncer.settings, statement_timeout: 1000 })
      const error = await rejection(client.connect())
      assert.match(error.message, /unsupported startup parameter: statement_timeout/)
    })

    it(`named statements ${mode === 'session' ? 'work' : 'are of one server connection only'}`, async () => {
      const clients = await Promise.all([pool.connect(), pool.connect()])
      try {
        const named = (client) => client.query({ name: 'by-n', text: 'SELECT $1::int AS n', values: [1] })
        assert.equal((await named(clients[0])).rows[0].n, 1)
        if (mode === 'session') assert.equal((await named(clients[1])).rows[0].n, 1)
        // The other client's statement goes to the server connection that has one of this name already.
        else assert.equal((await rejection(named(clients[1]))).code, '42P05')
      } finally {
        for (const client of clients) client.release(true)
      }
    })
  })
}
