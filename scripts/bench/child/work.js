'use strict'

// The work of each case on an opened driver: `op(n)` is what is counted, `check(done)` throws when rows are not, to the
// last value, what node-postgres gives. postgres.js and Bun have other types for other columns; for these all agree
// (int8 as text, timestamptz as Date, jsonb parsed), so nothing is normalised but the array that holds the rows.

const assert = require('node:assert')
const { createHash } = require('node:crypto')
const { BY_KEY } = require('./process')

const ROWS = 'SELECT * FROM bench_rows'
const LIST = 'SELECT id, name, score, active, at FROM bench_list WHERE list = $1 ORDER BY id'
const INSERT = `INSERT INTO bench_insert (id, name, note, active, score, big, at, body)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
const BALANCE = 'SELECT id, owner, balance FROM bench_account WHERE id = $1'
const UPDATE = 'UPDATE bench_account SET balance = balance + $1 WHERE id = $2'

const KEYS = 1000
const START = Date.UTC(2025, 0, 1)
const HOUR = 3_600_000

const keyRow = (id) => ({ id, name: `name ${id}`, body: { n: id } })

const bigRow = (id) => ({
  id,
  count: id * 7,
  even: id % 2 === 0,
  name: `name ${id}`,
  hash: createHash('md5').update(String(id)).digest('hex'),
  third: id / 3,
  big: String(id * 1_000_000),
  at: new Date(START + id * 60_000),
  note: id % 10 === 0 ? null : `note ${id}`,
  percent: id % 100,
})

const listRow = (id) => ({
  id,
  name: `name ${id}`,
  score: id / 4,
  active: id % 2 === 0,
  at: new Date(START + id * HOUR),
})

const insertRow = (id) => ({
  id,
  name: `name ${id}`,
  note: id % 2 === 0 ? null : `note ${id}`,
  active: true,
  score: id + 0.5,
  big: '9007199254740993',
  at: new Date(START + (id % KEYS) * HOUR),
  body: { n: id },
})

/** Row by row: an expected table of its own would count into the peak of memory. */
function equal(rows, count, expected) {
  assert.strictEqual(rows.length, count)
  for (let i = 0; i < count; i++) assert.deepStrictEqual(rows[i], expected(i + 1))
}

function wrong(what, rows) {
  throw new Error(`${what}: wrong rows, ${JSON.stringify(rows).slice(0, 500)}`)
}

const WORK = {
  select(db) {
    const byKey = db.prepare(BY_KEY)
    return {
      async op(n) {
        const id = 1 + (n % KEYS)
        const rows = await db.query(byKey, [id])
        if (rows.length !== 1 || rows[0].id !== id) wrong(`key ${id}`, rows)
      },
      async check() {
        for (const id of [1, 2, 500, KEYS]) equal(await db.query(byKey, [id]), 1, () => keyRow(id))
        equal(await db.query(byKey, [KEYS + 1]), 0)
      },
    }
  },
  rows(db) {
    const all = db.prepare(ROWS)
    return {
      async op() {
        const rows = await db.query(all, [])
        if (rows.length !== 10_000 || rows[9999].id !== 10_000) wrong('10,000 rows', rows.length)
      },
      check: async () => equal(await db.query(all, []), 10_000, bigRow),
    }
  },
  list(db) {
    const list = db.prepare(LIST)
    return {
      async op(n) {
        const rows = await db.query(list, [1 + (n % 100)])
        if (rows.length !== 100 || rows[99].id !== 100) wrong('100 rows', rows)
      },
      check: async () => equal(await db.query(list, [7]), 100, listRow),
    }
  },
  insert(db) {
    const insert = db.prepare(INSERT)
    return {
      op: (n) => db.query(insert, Object.values(insertRow(n))),
      /** That many are there, and every one of them, numbered from 0, is as it was given. */
      async check(done) {
        const rows = await db.query(db.prepare('SELECT * FROM bench_insert ORDER BY id'), [])
        equal(rows, done, (number) => insertRow(number - 1))
      },
    }
  },
  transaction(db) {
    const balance = db.prepare(BALANCE)
    const update = db.prepare(UPDATE)
    return {
      op: (n) =>
        db.transaction(async (query) => {
          const id = 1 + (n % KEYS)
          const rows = await query(balance, [id])
          if (rows.length !== 1 || rows[0].id !== id) wrong(`account ${id}`, rows)
          await query(update, [1, id])
        }),
      /** Every committed transaction has added one, in turn. */
      async check(done) {
        const rows = await db.query(db.prepare('SELECT * FROM bench_account ORDER BY id'), [])
        const times = (id) => Math.floor(done / KEYS) + (id <= done % KEYS ? 1 : 0)
        equal(rows, KEYS, (id) => ({ id, owner: `owner ${id}`, balance: times(id) }))
      },
    }
  },
}

/** A driver that speaks TLS unasked, or does not when asked, would be measured for something else. */
async function checkTls(db, wanted) {
  const rows = await db.query(db.prepare('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()'), [])
  equal(rows, 1, () => ({ ssl: wanted }))
}

module.exports = { WORK, keyRow, equal, checkTls }
