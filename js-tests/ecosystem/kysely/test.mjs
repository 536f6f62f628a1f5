import { Kysely, PostgresDialect, sql } from 'kysely'
import pg from 'pg'
import Cursor from 'pg-cursor'
import { assert, connectionString, rejects, suite } from './support.mjs'

suite('Kysely', async (it) => {
  const pool = new pg.Pool({ connectionString, max: 3 })
  const db = new Kysely({ dialect: new PostgresDialect({ pool, cursor: Cursor }) })

  await it('schema', async () => {
    await db.schema
      .createTable('person')
      .addColumn('id', 'serial', (column) => column.primaryKey())
      .addColumn('name', 'text', (column) => column.notNull().unique())
      .addColumn('born', 'date')
      .execute()
    const [table] = await db.introspection.getTables()
    assert.deepEqual([table.name, table.columns.length], ['person', 3])
  })
  await it('insert and select', async () => {
    const { id } = await db.insertInto('person').values({ name: 'Ada' }).returning('id').executeTakeFirstOrThrow()
    const { numInsertedOrUpdatedRows } = await db
      .insertInto('person')
      .values([{ name: 'Bo' }, { name: 'Cy' }])
      .executeTakeFirst()
    assert.equal(numInsertedOrUpdatedRows, 2n)
    assert.deepEqual(await db.selectFrom('person').select(['id', 'name']).where('id', '=', id).execute(), [
      { id, name: 'Ada' },
    ])
    assert.equal((await sql`SELECT ${1}::int AS one`.execute(db)).rows[0].one, 1)
  })
  await it('transaction, rolled back and kept', async () => {
    await rejects(
      db.transaction().execute(async (trx) => {
        await trx.deleteFrom('person').execute()
        throw new Error('no')
      }),
      { message: 'no' },
    )
    await db
      .transaction()
      .setIsolationLevel('serializable')
      .execute((trx) => trx.updateTable('person').set({ born: '2000-01-02' }).execute())
    const rows = await db.selectFrom('person').select('born').execute()
    assert.deepEqual(
      rows.map(({ born }) => born.getFullYear()),
      [2000, 2000, 2000],
    )
  })
  await it('a violated constraint', async () => {
    await rejects(db.insertInto('person').values({ name: 'Ada' }).execute(), {
      code: '23505',
      constraint: 'person_name_key',
    })
  })
  await it('stream, through pg-cursor', async () => {
    const names = []
    for await (const { name } of db.selectFrom('person').select('name').orderBy('id').stream(1)) {
      names.push(name)
      if (names.length === 2) break
    }
    assert.deepEqual(names, ['Ada', 'Bo'])
  })
  await it('pool end', async () => {
    await db.destroy()
    assert.deepEqual([pool.ended, pool.totalCount], [true, 0])
  })
})
