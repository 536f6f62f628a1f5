'use strict'

const assert = require('node:assert/strict')
const net = require('node:net')
const { describe, it } = require('node:test')
const { once } = require('node:events')
const { pg } = require('./provider')
const { settings } = require('./server')
const { withClient, rejection, eventually } = require('./support')
const { startProxy } = require('./wire-proxy')

const make = async (options) => new pg.Client({ ...(await settings()), ...options })

/** Its end; unlike events.once(), an error before does not matter. */
const ending = (client) => new Promise((resolve) => client.once('end', resolve))

/** A server that accepts and never says a word. */
async function withSilence(fn) {
  const sockets = []
  const server = net.createServer((socket) => sockets.push(socket.on('error', () => {})))
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    return await fn({ host: '127.0.0.1', port: server.address().port, user: 'u', database: 'd', password: 'p' })
  } finally {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  }
}

describe('connecting', () => {
  it('resolves the client, fills its members and emits connect after the callback', async () => {
    const client = await make({})
    const order = []
    client.on('connect', () => order.push('connect'))
    await new Promise((resolve, reject) => {
      client.connect((error, connected) => {
        order.push('callback')
        assert.equal(connected, client)
        process.nextTick(() => (error ? reject(error) : resolve()))
      })
    })
    assert.deepEqual(order, ['callback', 'connect'])
    const { host, port, user, database } = await settings()
    assert.deepEqual(
      { host: client.host, port: client.port, user: client.user, database: client.database, ssl: client.ssl },
      { host, port, user, database, ssl: false },
    )
    const { rows } = await client.query('SELECT pg_backend_pid() AS pid')
    assert.equal(client.processID, rows[0].pid)
    assert.equal(typeof client.secretKey, 'number')
    await client.end()
    const other = await make({})
    assert.equal(await other.connect(), other)
    await other.end()
  })

  it('works once for each client', async () => {
    const client = await make({})
    await client.connect()
    const message = 'Client has already been connected. You cannot reuse a client.'
    assert.equal((await rejection(client.connect())).message, message)
    await client.end()
    assert.equal((await rejection(client.connect())).message, message)
  })

  it('takes a URL, and prefers it to sibling options', async () => {
    const { host, port, user, password, database } = await settings()
    const url = `postgres://${user}:${encodeURIComponent(password)}@${host}:${port}/${database}?application_name=by-url`
    for (const config of [url, { connectionString: url, user: 'nobody', application_name: 'by-option' }]) {
      const client = new pg.Client(config)
      await client.connect()
      const { rows } = await client.query("SELECT current_user AS u, current_setting('application_name') AS n")
      assert.deepEqual(rows, [{ u: user, n: 'by-url' }])
      await client.end()
    }
  })

  it('sends its startup settings', async () => {
    const options = {
      application_name: 'heys tests',
      statement_timeout: 12345,
      lock_timeout: 2345,
      idle_in_transaction_session_timeout: 3456,
      options: '-c search_path=pg_catalog',
    }
    await withClient(options, async (client) => {
      const { rows } = await client.query({
        text: `SELECT current_setting('application_name'), current_setting('statement_timeout'), current_setting('lock_timeout'),
          current_setting('idle_in_transaction_session_timeout'), current_setting('search_path'), current_setting('client_encoding')`,
        rowMode: 'array',
      })
      assert.deepEqual(rows, [['heys tests', '12345ms', '2345ms', '3456ms', 'pg_catalog', 'UTF8']])
    })
    await withClient({ fallback_application_name: 'fallback' }, async (client) => {
      assert.equal((await client.query('SHOW application_name')).rows[0].application_name, 'fallback')
    })
  })

  it('reads the PG* variables', async () => {
    const { host, port, user, password, database } = await settings()
    const saved = { ...process.env }
    Object.assign(process.env, { PGHOST: host, PGPORT: String(port), PGUSER: user, PGPASSWORD: password })
    Object.assign(process.env, { PGDATABASE: database, PGAPPNAME: 'by environment', PGOPTIONS: '-c work_mem=1MB' })
    try {
      const client = new pg.Client()
      await client.connect()
      const { rows } = await client.query(
        "SELECT current_setting('application_name') AS n, current_setting('work_mem') AS m",
      )
      assert.deepEqual(rows, [{ n: 'by environment', m: '1MB' }])
      await client.end()
    } finally {
      for (const key of Object.keys(process.env)) if (!(key in saved)) delete process.env[key]
      Object.assign(process.env, saved)
    }
  })

  it('keeps passwords and keys out of enumerations', async () => {
    const client = await make({ ssl: { key: 'secret key', rejectUnauthorized: false } })
    assert.ok(!JSON.stringify(client.connectionParameters).includes((await settings()).password))
    assert.ok(!Object.keys(client).includes('password'))
    assert.ok(!Object.keys(client.ssl).includes('key'))
    const pool = new pg.Pool({ password: 'geheim', ssl: { key: 'secret key' } })
    assert.ok(!Object.keys(pool.options).includes('password'))
    assert.equal(pool.options.password, 'geheim')
  })

  it('fails with the codes of Node and the server', async () => {
    const refused = await rejection((await make({ host: '127.0.0.1', port: 1 })).connect())
    assert.deepEqual(
      [refused.code, refused.syscall, refused.address, refused.port],
      ['ECONNREFUSED', 'connect', '127.0.0.1', 1],
    )
    assert.equal(refused.message, 'connect ECONNREFUSED 127.0.0.1:1')
    const unknown = await rejection((await make({ host: 'nowhere.invalid' })).connect())
    assert.deepEqual([unknown.code, unknown.syscall, unknown.hostname], ['ENOTFOUND', 'getaddrinfo', 'nowhere.invalid'])
    assert.equal(unknown.message, 'getaddrinfo ENOTFOUND nowhere.invalid')
    const missing = await rejection((await make({ database: 'no_such_database' })).connect())
    assert.ok(missing instanceof pg.DatabaseError)
    assert.equal(missing.code, '3D000')
    const wrong = await rejection((await make({ password: 'wrong' })).connect())
    assert.equal(wrong.code, '28P01')
  })

  it('emits end after a failed attempt, and no error', async () => {
    const client = await make({ host: '127.0.0.1', port: 1 })
    const ended = once(client, 'end')
    client.on('error', () => assert.fail('error was emitted'))
    await rejection(client.connect())
    await ended
  })

  it('times out with "timeout expired"', async () => {
    await withSilence(async (silent) => {
      const client = new pg.Client({ ...silent, connectionTimeoutMillis: 100 })
      const started = Date.now()
      assert.equal((await rejection(client.connect())).message, 'timeout expired')
      assert.ok(Date.now() - started >= 95)
    })
  })

  it('says that the connection ended when the server hangs up', async () => {
    const server = net.createServer((socket) => socket.on('error', () => {}).end())
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
    try {
      const client = await make({ host: '127.0.0.1', port: server.address().port })
      assert.equal((await rejection(client.connect())).message, 'Connection terminated unexpectedly')
    } finally {
      server.close()
    }
  })
})

describe('passwords', () => {
  it('come from functions, sync or async, asked once for each connection', async () => {
    const { password } = await settings()
    let calls = 0
    for (const answer of [() => password, async () => password]) {
      const client = await make({
        password: (parameters) => {
          calls++
          assert.equal(typeof parameters.user, 'string')
          return answer()
        },
      })
      await client.connect()
      assert.equal(client.password, password)
      await client.end()
    }
    assert.equal(calls, 2)
  })

  it('from a function that fails or gives no string reject the connect', async () => {
    const failure = new Error('no secret today')
    const thrown = await make({
      password: () => {
        throw failure
      },
    })
    assert.equal(await rejection(thrown.connect()), failure)
    const number = await make({ password: () => 5 })
    const error = await rejection(number.connect())
    assert.deepEqual([error.name, error.message], ['TypeError', 'Password must be a string'])
  })

  it('that are missing say so', async () => {
    const saved = process.env.PGPASSFILE
    process.env.PGPASSFILE = '/nonexistent'
    const error = await rejection((await make({ password: undefined })).connect())
    if (saved === undefined) delete process.env.PGPASSFILE
    else process.env.PGPASSFILE = saved
    assert.equal(error.message, 'SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a string')
  })

  it('are found in the password file', async () => {
    const fs = require('node:fs')
    const os = require('node:os')
    const path = require('node:path')
    const { host, port, user, password, database } = await settings()
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'heys-pgpass-'))
    const file = path.join(folder, 'pgpass')
    fs.writeFileSync(file, `# comment\n*:*:*:nobody:wrong\n${host}:${port}:${database}:${user}:${password}\n`, {
      mode: 0o600,
    })
    const saved = process.env.PGPASSFILE
    process.env.PGPASSFILE = file
    try {
      await withClient({ password: undefined }, async (client) => {
        assert.equal((await client.query('SELECT current_user AS u')).rows[0].u, user)
      })
    } finally {
      if (saved === undefined) delete process.env.PGPASSFILE
      else process.env.PGPASSFILE = saved
      fs.rmSync(folder, { recursive: true })
    }
  })
})

describe('end()', () => {
  it('resolves before and after a connection, and twice', async () => {
    const client = await make({})
    await client.end()
    const used = await make({})
    await used.connect()
    const ended = once(used, 'end')
    await Promise.all([used.end(), used.end(), ended])
    await used.end()
    await new Promise((resolve) => used.end(resolve))
  })

  it('rejects queries from then on', async () => {
    const client = await make({})
    await client.connect()
    const ending = client.end()
    assert.equal((await rejection(client.query('SELECT 1'))).message, 'Client was closed and is not queryable')
    await ending
    assert.equal((await rejection(client.query('SELECT 1'))).message, 'Client was closed and is not queryable')
  })

  it('ends a running query and those behind it with "Connection terminated"', async () => {
    const client = await make({})
    await client.connect()
    const outcomes = Promise.allSettled([client.query('SELECT pg_sleep(20)'), client.query('SELECT 1')])
    await client.end()
    assert.deepEqual(
      (await outcomes).map(({ reason }) => reason.message),
      ['Connection terminated', 'Connection terminated'],
    )
  })

  it('leaves no connection on the server', async () => {
    const client = await make({ application_name: 'to be gone' })
    await client.connect()
    await client.end()
    await withClient({}, (other) =>
      eventually(async () => {
        const { rows } = await other.query("SELECT 1 FROM pg_stat_activity WHERE application_name = 'to be gone'")
        return rows.length === 0
      }),
    )
  })
})

describe('a lost connection', () => {
  it("rejects the running query with the server's reason, then emits error and end", async () => {
    const client = await make({})
    await client.connect()
    const events = []
    client.on('error', (error) => events.push(['error', error.message]))
    const ended = ending(client).then(() => events.push(['end']))
    const { rows } = await client.query('SELECT pg_backend_pid() AS pid')
    const running = client.query('SELECT pg_sleep(20)')
    const queued = client.query('SELECT 1')
    const reasons = Promise.allSettled([running, queued])
    await withClient({}, (other) => other.query('SELECT pg_terminate_backend($1)', [rows[0].pid]))
    const [first, second] = await reasons
    assert.equal(first.reason.code, '57P01')
    assert.equal(second.reason.message, 'Connection terminated unexpectedly')
    await ended
    assert.deepEqual(events, [['error', 'Connection terminated unexpectedly'], ['end']])
    const later = await rejection(client.query('SELECT 1'))
    assert.equal(later.message, 'Client has encountered a connection error and is not queryable')
    await client.end()
  })

  it("while idle emits the server's error, then the end of the connection", async () => {
    const client = await make({})
    await client.connect()
    const errors = []
    client.on('error', (error) => errors.push(error.code || error.message))
    const ended = ending(client)
    await withClient({}, (other) => other.query('SELECT pg_terminate_backend($1)', [client.processID]))
    await ended
    assert.deepEqual(errors, ['57P01', 'Connection terminated unexpectedly'])
  })

  it('by reset carries ECONNRESET', async () => {
    const proxy = await startProxy(await settings())
    const client = await make({ host: proxy.host, port: proxy.port })
    await client.connect()
    const errors = []
    client.on('error', (error) => errors.push(error.code || error.message))
    const ended = ending(client)
    const running = rejection(client.query('SELECT pg_sleep(20)'))
    proxy.cut()
    assert.equal((await running).code, 'ECONNRESET')
    await ended
    assert.deepEqual(errors, ['ECONNRESET', 'Connection terminated unexpectedly'])
    await proxy.close()
  })
})

describe('query_timeout', () => {
  it('rejects with "Query read timeout", of the client or of one query', async () => {
    await withClient({ query_timeout: 100 }, async (client) => {
      assert.equal((await rejection(client.query('SELECT pg_sleep(0.4)'))).message, 'Query read timeout')
      assert.deepEqual((await client.query({ text: 'SELECT 1 AS a', query_timeout: 5000 })).rows, [{ a: 1 }])
    })
    await withClient({}, async (client) => {
      const error = await rejection(client.query({ text: 'SELECT pg_sleep(0.4)', query_timeout: 50 }))
      assert.equal(error.message, 'Query read timeout')
      assert.deepEqual((await client.query('SELECT 1 AS a')).rows, [{ a: 1 }])
    })
  })

  it('counts the wait behind other queries, and takes the query out of the queue', async () => {
    await withClient({}, async (client) => {
      const first = client.query('SELECT pg_sleep(0.3)')
      await client.query({ text: 'CREATE TABLE should_not_be (a int)', query_timeout: 50 }).then(
        () => assert.fail('ran'),
        (error) => assert.equal(error.message, 'Query read timeout'),
      )
      await first
      const { rows } = await client.query("SELECT to_regclass('should_not_be') AS t")
      assert.equal(rows[0].t, null)
    })
  })
})

describe('type parsers', () => {
  it('of one client, of one query and of everybody are honoured, and get the text', async () => {
    await withClient({}, async (client) => {
      client.setTypeParser(23, (text) => `int:${text}`)
      client.setTypeParser(16, 'text', (text) => `bool:${text}`)
      assert.equal(client.getTypeParser(23, 'text')('5'), 'int:5')
      const text = 'SELECT 5 AS i, true AS b, NULL::int AS n, $1::text AS t'
      assert.deepEqual((await client.query(text, ['x'])).rows, [{ i: 'int:5', b: 'bool:t', n: null, t: 'x' }])
      const types = { getTypeParser: (oid, format) => (value) => `${oid}/${format}/${value}` }
      assert.deepEqual((await client.query({ text, values: ['x'], types })).rows, [
        { i: '23/text/5', b: '16/text/t', n: null, t: '25/text/x' },
      ])
      await withClient({}, async (other) => {
        assert.deepEqual((await other.query(text, ['x'])).rows, [{ i: 5, b: true, n: null, t: 'x' }])
      })
    })
    const before = pg.types.getTypeParser(23, 'text')
    await withClient({}, async (client) => {
      pg.types.setTypeParser(23, (text) => Number(text) * 100)
      try {
        assert.deepEqual((await client.query('SELECT 5 AS i')).rows, [{ i: 500 }])
      } finally {
        pg.types.setTypeParser(23, before)
      }
      assert.deepEqual((await client.query('SELECT 5 AS i')).rows, [{ i: 5 }])
    })
  })

  it('of the options serve a client and a pool', async () => {
    const types = { getTypeParser: () => (value) => `<${value}>` }
    await withClient({ types }, async (client) => {
      assert.deepEqual((await client.query('SELECT 1 AS a')).rows, [{ a: '<1>' }])
      client.setTypeParser(23, Number)
      assert.deepEqual((await client.query("SELECT 1 AS a, 'x' AS b")).rows, [{ a: 1, b: '<x>' }])
    })
  })

  it('defaults.parseInt8 gives numbers', async () => {
    pg.defaults.parseInt8 = true
    try {
      await withClient({}, async (client) => {
        assert.deepEqual((await client.query('SELECT 5::int8 AS a, ARRAY[1,2]::int8[] AS b')).rows, [
          { a: 5, b: [1, 2] },
        ])
      })
    } finally {
      pg.defaults.parseInt8 = false
    }
    await withClient({}, async (client) => {
      assert.deepEqual((await client.query('SELECT 5::int8 AS a, ARRAY[1,2]::int8[] AS b')).rows, [
        { a: '5', b: ['1', '2'] },
      ])
    })
  })
})

describe('escaping', () => {
  it('quotes identifiers and literals', async () => {
    const client = await make({})
    for (const escape of [client, pg]) {
      assert.equal(escape.escapeIdentifier('a"b'), '"a""b"')
      assert.equal(escape.escapeLiteral("it's"), "'it''s'")
      assert.equal(escape.escapeLiteral('back\\slash'), " E'back\\\\slash'")
      assert.equal(escape.escapeLiteral(null), "''")
      assert.equal(escape.escapeLiteral(5), "''")
    }
  })
})

describe('pipeline', () => {
  it('sends a query while the one before it runs', async () => {
    const proxy = await startProxy(await settings())
    try {
      await withClient({ pipeline: true, host: proxy.host, port: proxy.port }, async (client) => {
        let answered = false
        const slow = client.query('SELECT pg_sleep(1)').then(() => (answered = true))
        const next = client.query("SELECT 'sent at once' AS a")
        await eventually(() => proxy.heard.includes('sent at once'))
        assert.equal(answered, false)
        await slow
        assert.deepEqual((await next).rows, [{ a: 'sent at once' }])
      })
    } finally {
      await proxy.close()
    }
  })

  it('sends queries without waiting, and answers them in order', async () => {
    await withClient({ pipeline: true }, async (client) => {
      const outcomes = await Promise.allSettled([
        client.query('SELECT $1::int AS a', [1]),
        client.query('SELECT 1/0'),
        client.query('SELECT 2 AS a; SELECT 3 AS a'),
        client.query({ name: 'n', text: 'SELECT $1::int AS a', values: [4] }),
        client.query({ name: 'n', values: [5] }),
      ])
      assert.deepEqual(
        outcomes.map(({ value, reason }) =>
          reason ? reason.code : Array.isArray(value) ? value.map(({ rows }) => rows[0].a) : value.rows[0].a,
        ),
        [1, '22012', [2, 3], 4, 5],
      )
    })
  })
})
