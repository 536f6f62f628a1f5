// COPY of 1 GB to and from the server through pg-copy-streams and heys-db's own streams: memory stays bounded while the
// other side is slow, and a copy that is given up midway leaves the client usable.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { after, before, describe, it } from 'node:test'

const require = createRequire(import.meta.url)
const { Client } = require('../..')
const { from, to } = require('pg-copy-streams')
const { startSandbox } = require('../../sandbox/client')

const ROWS = 1_050_000
const LINE = `${'x'.repeat(1023)}\n`
const GIGABYTE = 1024 ** 3
const OUT = `COPY (SELECT repeat('x', 1023) FROM generate_series(1, ${ROWS})) TO STDOUT`
/** Of resident memory while a gigabyte passes. */
const GROWTH = 80 * 1024 ** 2

let sandbox
let client

before(async () => {
  sandbox = await startSandbox({ postgres: true })
  const { host, port, user, password, database } = sandbox.pg
  client = new Client({ host, port, user, password, database })
  await client.connect()
  // Nothing is kept: what is measured is the way, not the disk.
  await client.query(`CREATE TEMP TABLE taken (line text);
    CREATE FUNCTION pg_temp.drop_it() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER drop_it BEFORE INSERT ON taken FOR EACH ROW EXECUTE FUNCTION pg_temp.drop_it()`)
})
after(async () => {
  await client?.end()
  await sandbox?.stop()
})

/** Runs `work` and says by how much resident memory grew meanwhile, at most. */
async function growth(work) {
  const start = process.memoryUsage.rss()
  let most = start
  const timer = setInterval(() => (most = Math.max(most, process.memoryUsage.rss())), 20)
  await work()
  clearInterval(timer)
  return most - start
}

/** Takes everything, resting for a moment now and then. */
function slowSink(counts) {
  let calls = 0
  return new Writable({
    write(chunk, encoding, done) {
      counts.bytes += chunk.length
      if (++calls % 500 === 0) setTimeout(done, 5)
      else done()
    },
  })
}

function* lines() {
  const block = Buffer.from(LINE.repeat(64))
  for (let i = 0; i < ROWS / 64; i++) yield block
}

const usable = async () => assert.deepEqual((await client.query('SELECT 1 AS a')).rows, [{ a: 1 }])

const WAYS = {
  'pg-copy-streams': { out: () => client.query(to(OUT)), in: () => client.query(from('COPY taken FROM STDIN')) },
  'copyTo and copyFrom': { out: () => client.copyTo(OUT), in: () => client.copyFrom('COPY taken FROM STDIN') },
}

for (const [name, way] of Object.entries(WAYS)) {
  describe(name, () => {
    it('copies 1 GB out to a slow reader', async () => {
      const counts = { bytes: 0 }
      const grown = await growth(() => pipeline(way.out(), slowSink(counts)))
      assert.ok(counts.bytes > GIGABYTE, `${counts.bytes} bytes`)
      assert.ok(grown < GROWTH, `memory grew by ${Math.round(grown / 1024 ** 2)} MB`)
      await usable()
    })

    it('copies 1 GB in', async () => {
      const stream = way.in()
      const grown = await growth(() => pipeline(Readable.from(lines(), { objectMode: false }), stream))
      assert.equal(stream.rowCount, 0, 'the trigger drops every row')
      assert.ok(grown < GROWTH, `memory grew by ${Math.round(grown / 1024 ** 2)} MB`)
      await usable()
    })
  })
}

describe('given up midway', () => {
  it('copyTo is cancelled on the server', async () => {
    const stream = client.copyTo(OUT)
    let bytes = 0
    await assert.rejects(async () => {
      for await (const chunk of stream) {
        bytes += chunk.length
        if (bytes > 1e7) stream.destroy(new Error('enough'))
      }
    }, /enough/)
    await usable()
  })

  it('copyFrom stores nothing', async () => {
    await client.query('CREATE TEMP TABLE kept (line text)')
    const stream = client.copyFrom('COPY kept FROM STDIN')
    stream.on('error', () => {})
    for (let i = 0; i < 1000; i++)
      if (!stream.write(LINE)) await new Promise((resolve) => stream.once('drain', resolve))
    stream.destroy(new Error('enough'))
    await usable()
    assert.equal((await client.query('SELECT count(*)::int AS n FROM kept')).rows[0].n, 0)
  })
})
