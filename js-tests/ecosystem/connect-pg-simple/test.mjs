import { promisify } from 'node:util'
import connectPgSimple from 'connect-pg-simple'
import session from 'express-session'
import pg from 'pg'
import { assert, connectionString, suite } from './support.mjs'

const Store = connectPgSimple(session)

suite('connect-pg-simple', async (it) => {
  for (const how of ['a pool', 'a connection string']) {
    const pool = new pg.Pool({ connectionString, max: 2 })
    const from = how === 'a pool' ? { pool } : { conString: connectionString }
    const store = new Store({ ...from, createTableIfMissing: true, pruneSessionInterval: false })
    const call = (name, ...args) => promisify(store[name].bind(store))(...args)
    const cookie = { originalMaxAge: 60000, expires: new Date(Date.now() + 60000).toISOString() }

    await it(`${how}: schema, insert, select`, async () => {
      await call('set', how, { cookie, user: { name: 'Ada ü', n: 1 } })
      assert.deepEqual((await call('get', how)).user, { name: 'Ada ü', n: 1 })
      await call('set', how, { cookie, user: null })
      assert.equal((await call('get', how)).user, null)
    })
    await it(`${how}: touch, prune, destroy`, async () => {
      await call('touch', how, { cookie })
      await call('pruneSessions')
      assert.ok(await call('get', how))
      await call('destroy', how)
      assert.equal(await call('get', how), undefined)
    })
    await it(`${how}: an error comes back`, async () => {
      const wrong = new Store({ ...from, tableName: 'not_there', pruneSessionInterval: false })
      const error = await promisify(wrong.get.bind(wrong))('x').then(null, (error) => error)
      assert.equal(error.code, '42P01')
      await wrong.close()
    })
    await it(`${how}: pool end`, async () => {
      await store.close()
      await pool.end()
    })
  }
})
