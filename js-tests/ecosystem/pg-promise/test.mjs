import pgPromise from 'pg-promise'
import QueryStream from 'pg-query-stream'
import { assert, connectionString, rejects, suite } from './support.mjs'

suite('pg-promise', async (it) => {
  const seen = { connect: 0, disconnect: 0, query: 0, receive: 0 }
  const pgp = pgPromise({
    connect: () => void seen.connect++,
    disconnect: () => void seen.disconnect++,
    query: () => void seen.query++,
    receive: ({ data }) => void (seen.receive += data.length),
  })
  const db = pgp({ connectionString, max: 3 })

  await it('schema', () => db.none('CREATE TABLE person (id serial PRIMARY KEY, name text UNIQUE, data jsonb)'))
  await it('insert and select', async () => {
    const { id } = await db.one('INSERT INTO person (name, data) VALUES (${name}, ${data}) RETURNING id', {
      name: "A'da",
      data: { a: [1] },
    })
    assert.deepEqual(await db.any('SELECT * FROM person WHERE id = $1', id), [{ id, name: "A'da", data: { a: [1] } }])
    const columns = new pgp.helpers.ColumnSet(['name'], { table: 'person' })
    await db.none(pgp.helpers.insert([{ name: 'Bo' }, { name: 'Cy' }], columns))
    assert.equal(await db.one('SELECT count(*) FROM person', [], (row) => Number(row.count)), 3)
    assert.equal(
      await db.oneOrNone(new pgp.ParameterizedQuery({ text: 'SELECT * FROM person WHERE id = $1', values: [99] })),
      null,
    )
    const prepared = new pgp.PreparedStatement({ name: 'by-name', text: 'SELECT name FROM person WHERE name = $1' })
    for (const name of ['Bo', 'Cy']) assert.deepEqual(await db.one(prepared, [name]), { name })
    assert.deepEqual(await db.multi('SELECT 1 AS a; SELECT 2 AS b, 3 AS c'), [[{ a: 1 }], [{ b: 2, c: 3 }]])
    await rejects(db.one('SELECT * FROM person'), { name: 'QueryResultError' })
  })
  await it('transaction, task, savepoint', async () => {
    await rejects(
      db.tx(async (t) => {
        await t.none('DELETE FROM person')
        throw new Error('no')
      }),
      { message: 'no' },
    )
    await db.tx(
      { mode: new pgp.txMode.TransactionMode({ tiLevel: pgp.txMode.isolationLevel.serializable }) },
      async (t) => {
        await t.tx((nested) => nested.none("UPDATE person SET data = '1' WHERE name = 'Bo'"))
        await t.batch([t.one('SELECT 1 AS a'), t.one('SELECT 2 AS b')])
      },
    )
    assert.equal(await db.task(async (t) => (await t.many('SELECT * FROM person')).length), 3)
  })
  await it('a violated constraint', () =>
    rejects(db.none("INSERT INTO person (name) VALUES ('Bo')"), { code: '23505' }))
  await it('stream, through pg-query-stream', async () => {
    const { processed } = await db.stream(new QueryStream('SELECT generate_series(1, 500) AS n'), (stream) =>
      stream.resume(),
    )
    assert.equal(processed, 500)
  })
  await it('listens, and reconnects when the connection is lost', async () => {
    const lost = []
    const connection = await db.connect({ direct: true, onLost: (error) => lost.push(error) })
    const told = new Promise((resolve) => connection.client.on('notification', resolve))
    await connection.none('LISTEN $1:name', 'ch')
    await db.none('NOTIFY ch, $1', ['hello'])
    assert.equal((await told).payload, 'hello')
    const { pid } = await connection.one('SELECT pg_backend_pid() AS pid')
    const gone = new Promise((resolve) => connection.client.once('end', resolve))
    await db.any('SELECT pg_terminate_backend($1)', pid)
    await gone
    assert.equal(lost.length, 1)
    await connection.done(true)
  })
  await it('its events', () => {
    assert.ok(seen.connect > 5 && seen.query > 15 && seen.receive > 500, JSON.stringify(seen))
  })
  await it('pool end', () => db.$pool.end())
})
