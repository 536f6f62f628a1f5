import knex from 'knex'
import { assert, connectionString, rejects, suite } from './support.mjs'

suite('Knex', async (it) => {
  const db = knex({ client: 'pg', connection: connectionString, pool: { min: 0, max: 3 } })

  await it('schema', async () => {
    await db.schema.createTable('person', (table) => {
      table.increments('id')
      table.string('name').notNullable().unique()
      table.jsonb('data')
    })
    assert.equal(await db.schema.hasTable('person'), true)
  })
  await it('insert and select', async () => {
    assert.deepEqual(
      await db('person')
        .insert({ name: 'Ada', data: { a: [1] } })
        .returning('*'),
      [{ id: 1, name: 'Ada', data: { a: [1] } }],
    )
    await db.batchInsert(
      'person',
      Array.from({ length: 50 }, (_, i) => ({ name: `n${i}` })),
      20,
    )
    assert.equal(await db('person').where('name', 'like', 'n%').update({ data: null }), 50)
    assert.deepEqual(await db('person').count(), [{ count: '51' }])
    assert.equal((await db.raw('SELECT ?::int AS a', [7])).rows[0].a, 7)
  })
  await it('transaction, rolled back and kept', async () => {
    await rejects(
      db.transaction(async (trx) => {
        await trx('person').del()
        throw new Error('no')
      }),
      { message: 'no' },
    )
    const trx = await db.transaction()
    await trx('person').insert({ name: 'Bo' })
    await trx.commit()
    assert.equal((await db('person').where({ name: 'Bo' })).length, 1)
  })
  await it('a violated constraint', () => rejects(db('person').insert({ name: 'Ada' }), { code: '23505' }))
  await it('stream, through pg-query-stream', async () => {
    let rows = 0
    for await (const row of db('person').select('id').stream({ highWaterMark: 5 })) rows += row.id > 0 ? 1 : 0
    assert.equal(rows, 52)
  })
  await it('timeout that cancels', async () => {
    await rejects(db.raw('SELECT pg_sleep(10)').timeout(200, { cancel: true }), { name: 'KnexTimeoutError' })
  })
  await it('pool end', () => db.destroy())
})
