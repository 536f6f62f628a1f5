'use strict'

const assert = require('node:assert/strict')
const { readFileSync } = require('node:fs')
const net = require('node:net')
const { Duplex } = require('node:stream')
const tls = require('node:tls')
const { after, before, describe, it } = require('node:test')
const { startSandbox } = require('../sandbox/client')
const { pg } = require('./provider')
const { settings } = require('./server')
const { rejection, withClient, withPool } = require('./support')

/** A socket that counts what goes through it. */
function counting(counts) {
  return () => {
    counts.made = (counts.made || 0) + 1
    const socket = new net.Socket()
    socket.on('data', (bytes) => (counts.received = (counts.received || 0) + bytes.length))
    return socket
  }
}

describe('the option stream', () => {
  it('carries the connection: queries, large results, errors, the end', async () => {
    const counts = {}
    await withClient({ stream: counting(counts) }, async (client) => {
      assert.equal(counts.made, 1)
      const { rows } = await client.query('SELECT g, repeat($1, 1000) AS text FROM generate_series(1, 5000) g', ['x'])
      assert.equal(rows.length, 5000)
      assert.equal(rows[4999].text.length, 1000)
      assert.ok(counts.received > 5_000_000)
      const sent = 'y'.repeat(3_000_000)
      assert.equal((await client.query('SELECT length($1) AS n', [sent])).rows[0].n, 3_000_000)
      assert.equal((await rejection(client.query('SELECT 1/0'))).code, '22012')
      assert.deepEqual((await client.query('SELECT 1 AS a')).rows, [{ a: 1 }])
      assert.equal(typeof client.processID, 'number')
    })
  })

  it('may be a stream instead of a function', async () => {
    await withClient({ stream: new net.Socket() }, async (client) => {
      assert.deepEqual((await client.query('SELECT 1 AS a')).rows, [{ a: 1 }])
    })
  })

  it('is asked for each connection of a pool', async () => {
    const counts = {}
    await withPool({ stream: counting(counts), max: 3 }, async (pool) => {
      await Promise.all(Array.from({ length: 9 }, () => pool.query('SELECT pg_sleep(0.05)')))
    })
    assert.equal(counts.made, 3)
  })

  it('runs transactions, named statements and queries with events', async () => {
    await withClient({ stream: () => new net.Socket() }, async (client) => {
      await client.query('BEGIN')
      assert.equal(client.getTransactionStatus(), 'T')
      await client.query('COMMIT')
      for (const n of [1, 2]) {
        assert.equal((await client.query({ name: 'named', text: 'SELECT $1::int AS n', values: [n] })).rows[0].n, n)
      }
      const seen = []
      const query = client.query(new pg.Query('SELECT g FROM generate_series(1, 3) g'))
      query.on('row', (row) => seen.push(row.g))
      await new Promise((resolve, reject) => query.on('end', resolve).on('error', reject))
      assert.deepEqual(seen, [1, 2, 3])
    })
  })

  it('fails the connection with its own error', async () => {
    const stream = () => {
      const broken = new Duplex({ read() {}, write: (chunk, encoding, done) => done() })
      broken.connect = () => setImmediate(() => broken.destroy(new Error('no way out')))
      broken.setNoDelay = () => broken
      return broken
    }
    const client = new pg.Client({ ...(await settings()), stream })
    assert.equal((await rejection(client.connect())).message, 'no way out')
  })

  it('is refused by a port where nobody listens, with the code of the socket', async () => {
    const client = new pg.Client({ ...(await settings()), port: 1, stream: () => new net.Socket() })
    assert.equal((await rejection(client.connect())).code, 'ECONNREFUSED')
  })

  it('tells a query that its connection was cut', async () => {
    let socket
    const stream = () => (socket = new net.Socket())
    const client = new pg.Client({ ...(await settings()), stream })
    const errors = []
    client.on('error', (error) => errors.push(error.message))
    await client.connect()
    const waiting = client.query('SELECT pg_sleep(10)')
    setTimeout(() => socket.destroy(), 50)
    assert.equal((await rejection(waiting)).message, 'Connection terminated unexpectedly')
    assert.equal((await rejection(client.query('SELECT 1'))).message, NOT_QUERYABLE)
    assert.deepEqual(errors, ['Connection terminated unexpectedly'])
  })

  it('is timed out', async () => {
    const deaf = net.createServer(() => {})
    await new Promise((resolve) => deaf.listen(0, '127.0.0.1', resolve))
    try {
      const { port } = deaf.address()
      const options = {
        host: '127.0.0.1',
        port,
        user: 'u',
        connectionTimeoutMillis: 100,
        stream: () => new net.Socket(),
      }
      assert.equal((await rejection(new pg.Client(options).connect())).message, 'timeout expired')
    } finally {
      deaf.close()
    }
  })
})

const NOT_QUERYABLE = 'Client has encountered a connection error and is not queryable'

describe('TLS options of Node', () => {
  let sandbox
  let ca

  before(async () => {
    sandbox = await startSandbox({ postgres: true })
    ca = readFileSync(sandbox.pg.caPath, 'utf8')
  })
  after(() => sandbox?.stop())

  const options = (ssl, more) => {
    const { host, port, user, password, database } = sandbox.pg
    return { host, port, user, password, database, ssl, ...more }
  }
  const secure = async (ssl, more) => {
    const client = new pg.Client(options(ssl, more))
    await client.connect()
    try {
      const { rows } = await client.query('SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()')
      return rows[0]
    } finally {
      await client.end()
    }
  }

  it('checkServerIdentity decides about the name', async () => {
    const asked = []
    const checkServerIdentity = (name) => {
      asked.push(name)
    }
    assert.equal((await secure({ ca, checkServerIdentity })).ssl, true)
    assert.deepEqual(asked, [sandbox.pg.host])
    const refusing = { ca, checkServerIdentity: () => new Error('not this one') }
    assert.equal((await rejection(secure(refusing))).message, 'not this one')
  })

  it('minVersion and maxVersion choose the protocol', async () => {
    assert.deepEqual(await secure({ ca, maxVersion: 'TLSv1.2' }), { ssl: true, version: 'TLSv1.2' })
    assert.deepEqual(await secure({ ca, minVersion: 'TLSv1.3' }), { ssl: true, version: 'TLSv1.3' })
  })

  it('secureContext brings the roots', async () => {
    assert.equal((await secure({ secureContext: tls.createSecureContext({ ca }) })).ssl, true)
    const error = await rejection(secure({ secureContext: tls.createSecureContext() }))
    assert.match(error.code, /SELF_SIGNED|UNABLE_TO/)
  })

  it('a stream of its own is encrypted, too', async () => {
    assert.equal((await secure({ ca }, { stream: () => new net.Socket() })).ssl, true)
  })
})

describe('Connection', () => {
  it('speaks the protocol by itself', async () => {
    const { host, port, user, database } = await settings()
    const connection = new pg.Connection()
    const messages = []
    connection.on('message', ({ name }) => messages.push(name))
    await new Promise((resolve, reject) => {
      connection.on('error', reject)
      connection.once('connect', resolve)
      connection.connect(port, host)
    })
    const asked = new Promise((resolve) => connection.once('authenticationSASL', resolve))
    connection.startup({ user, database })
    assert.ok((await asked).mechanisms.includes('SCRAM-SHA-256'))
    const ended = new Promise((resolve) => connection.once('end', resolve))
    connection.end()
    await ended
    assert.equal(messages[0], 'authenticationSASL')
  })

  it('is what a client has', () => {
    assert.ok(new pg.Client().connection instanceof pg.Connection)
    assert.deepEqual(pg._pools, [])
  })
})
