import { PrismaPg } from '@prisma/adapter-pg'
import { Prisma, PrismaClient } from '@prisma/client'
import pg from 'pg'
import { assert, connectionString, rejects, suite } from './support.mjs'

suite('Prisma, adapter-pg', async (it) => {
  const pool = new pg.Pool({ connectionString, max: 3 })
  await pool.query(
    'CREATE TABLE person (id serial PRIMARY KEY, name text NOT NULL UNIQUE, data jsonb, made timestamptz(3) NOT NULL, price numeric, bytes bytea, big bigint, tags text[])',
  )
  const db = new PrismaClient({ adapter: new PrismaPg(pool) })
  const made = new Date('2024-05-06T07:08:09.010Z')

  await it('insert and select', async () => {
    const data = {
      name: 'Ada',
      data: { a: [1] },
      made,
      price: '1.50',
      bytes: Buffer.from([0, 255]),
      big: 9007199254740993n,
      tags: ['x', 'y"'],
    }
    const row = await db.person.create({ data })
    assert.deepEqual(
      [row.id, row.data, row.made, row.big, row.tags],
      [1, { a: [1] }, made, 9007199254740993n, ['x', 'y"']],
    )
    assert.equal(row.price.toFixed(2), '1.50')
    assert.deepEqual([...row.bytes], [0, 255])
    await db.person.createMany({
      data: [
        { name: 'Bo', made },
        { name: 'Cy', made },
      ],
    })
    assert.equal(await db.person.count({ where: { made: { lte: made } } }), 3)
    assert.deepEqual(await db.$queryRaw`SELECT ${1}::int AS a`, [{ a: 1 }])
  })
  await it('transaction, rolled back and kept', async () => {
    await rejects(
      db.$transaction(async (tx) => {
        await tx.person.deleteMany()
        throw new Error('no')
      }),
      { message: 'no' },
    )
    await db.$transaction(
      [db.person.update({ where: { name: 'Bo' }, data: { big: 2n } }), db.person.delete({ where: { name: 'Cy' } })],
      {
        isolationLevel: Prisma.TransactionIsolationLevel.Serializable,
      },
    )
    assert.equal(await db.person.count(), 2)
  })
  await it('a violated constraint', () => rejects(db.person.create({ data: { name: 'Ada', made } }), { code: 'P2002' }))
  await it('pool end', async () => {
    await db.$disconnect()
    if (!pool.ended) await pool.end()
  })
})
