import { eq, sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import { jsonb, numeric, pgTable, serial, text, timestamp } from 'drizzle-orm/pg-core'
import pg from 'pg'
import { assert, connectionString, rejects, suite } from './support.mjs'

const person = pgTable('person', {
  id: serial('id').primaryKey(),
  name: text('name').notNull().unique(),
  tags: jsonb('tags'),
  made: timestamp('made', { withTimezone: true }),
  price: numeric('price'),
})

suite('Drizzle', async (it) => {
  const pool = new pg.Pool({ connectionString, max: 2 })
  const db = drizzle(pool, { schema: { person } })
  const made = new Date('2024-05-06T07:08:09.010Z')

  await it('schema', () =>
    db.execute(
      sql`CREATE TABLE person (id serial PRIMARY KEY, name text NOT NULL UNIQUE, tags jsonb, made timestamptz, price numeric)`,
    ))
  await it('insert and select, with its own type parsers', async () => {
    const [row] = await db
      .insert(person)
      .values({ name: 'Ada', tags: ['x', { y: 1 }], made, price: '1.50' })
      .returning()
    assert.deepEqual(row, { id: 1, name: 'Ada', tags: ['x', { y: 1 }], made, price: '1.50' })
    assert.deepEqual(await db.select({ name: person.name }).from(person).where(eq(person.id, 1)), [{ name: 'Ada' }])
    assert.equal((await db.query.person.findFirst({ where: eq(person.name, 'Ada') })).made.getTime(), made.getTime())
  })
  await it('prepared statement', async () => {
    const prepared = db
      .select()
      .from(person)
      .where(eq(person.id, sql.placeholder('id')))
      .prepare('by_id')
    for (const id of [1, 2, 1]) assert.equal((await prepared.execute({ id })).length, id === 1 ? 1 : 0)
  })
  await it('transaction and savepoint', async () => {
    await db.transaction(async (tx) => {
      await tx.insert(person).values({ name: 'Bo' })
      await rejects(
        tx.transaction(async (nested) => {
          await nested.insert(person).values({ name: 'Cy' })
          nested.rollback()
        }),
        { message: 'Rollback' },
      )
    })
    assert.equal(await db.$count(person), 2)
  })
  await it('a violated constraint', async () => {
    const error = await db
      .insert(person)
      .values({ name: 'Ada' })
      .then(null, (error) => error)
    assert.equal(error.cause.code, '23505')
    assert.ok(error.cause instanceof pg.DatabaseError)
  })
  await it('pool end', () => pool.end())
})
