import 'reflect-metadata'
import { DataSource, EntitySchema } from 'typeorm'
import { assert, connectionString, rejects, suite } from './support.mjs'

const Person = new EntitySchema({
  name: 'person',
  columns: {
    id: { type: Number, primary: true, generated: true },
    name: { type: 'text', unique: true },
    made: { type: 'timestamptz', createDate: true },
    data: { type: 'jsonb', nullable: true },
    tags: { type: 'text', array: true, default: '{}' },
  },
})

suite('TypeORM', async (it) => {
  const source = new DataSource({ type: 'postgres', url: connectionString, entities: [Person], extra: { max: 3 } })

  await it('schema, from an empty database and again', async () => {
    await source.initialize()
    await source.synchronize()
    await source.synchronize()
  })
  const people = source.getRepository(Person)
  await it('insert and select', async () => {
    const saved = await people.save({ name: 'Ada', data: { a: [1] }, tags: ['x', 'y "z"'] })
    assert.ok(saved.id === 1 && saved.made instanceof Date)
    const found = await people.findOneByOrFail({ name: 'Ada' })
    assert.deepEqual([found.data, found.tags], [{ a: [1] }, ['x', 'y "z"']])
    await people.insert([{ name: 'Bo' }, { name: 'Cy' }])
    assert.equal(await people.createQueryBuilder('p').where('p.id > :id', { id: 1 }).getCount(), 2)
  })
  await it('transaction, rolled back and kept', async () => {
    await rejects(
      source.transaction('SERIALIZABLE', async (manager) => {
        await manager.delete(Person, { name: 'Ada' })
        throw new Error('no')
      }),
      { message: 'no' },
    )
    await source.transaction((manager) => manager.update(Person, { name: 'Bo' }, { data: { b: 1 } }))
    assert.deepEqual((await people.findOneBy({ name: 'Bo' })).data, { b: 1 })
  })
  await it('a violated constraint', async () => {
    const error = await people.insert({ name: 'Ada' }).then(null, (error) => error)
    assert.deepEqual([error.name, error.code], ['QueryFailedError', '23505'])
  })
  await it('stream, through pg-query-stream', async () => {
    const stream = await people.createQueryBuilder('p').stream()
    let rows = 0
    for await (const row of stream) rows += row.p_id > 0 ? 1 : 0
    assert.equal(rows, 3)
  })
  await it('pool end', () => source.destroy())
})
