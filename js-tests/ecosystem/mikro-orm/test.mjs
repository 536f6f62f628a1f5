import { EntitySchema, MikroORM } from '@mikro-orm/postgresql'
import { assert, connectionString, rejects, suite } from './support.mjs'

const Person = new EntitySchema({
  name: 'Person',
  properties: {
    id: { type: 'number', primary: true },
    name: { type: 'string', unique: true },
    data: { type: 'json', nullable: true },
    made: { type: 'Date', onCreate: () => new Date(1700000000123) },
  },
})

suite('MikroORM', async (it) => {
  const orm = await MikroORM.init({
    clientUrl: connectionString,
    entities: [Person],
    pool: { min: 0, max: 3 },
    allowGlobalContext: true,
  })

  await it('schema', async () => {
    await orm.schema.createSchema()
    assert.equal((await orm.schema.getUpdateSchemaSQL()).trim(), '')
  })
  await it('insert and select', async () => {
    const em = orm.em.fork()
    em.create('Person', { name: 'Ada', data: { a: [1, { b: null }] } })
    em.create('Person', { name: 'Bo' })
    await em.flush()
    const found = await orm.em.fork().findOneOrFail('Person', { name: 'Ada' })
    assert.deepEqual([found.data, found.made.getTime()], [{ a: [1, { b: null }] }, 1700000000123])
    assert.equal(await em.count('Person'), 2)
  })
  await it('transaction, rolled back and kept', async () => {
    await rejects(
      orm.em.fork().transactional(async (em) => {
        await em.nativeDelete('Person', {})
        throw new Error('no')
      }),
      { message: 'no' },
    )
    await orm.em.fork().transactional((em) => em.nativeUpdate('Person', { name: 'Bo' }, { data: { b: 1 } }))
    assert.deepEqual((await orm.em.fork().findOne('Person', { name: 'Bo' })).data, { b: 1 })
  })
  await it('a violated constraint', async () => {
    const error = await orm.em
      .fork()
      .insert('Person', { name: 'Ada', made: new Date() })
      .then(null, (error) => error)
    assert.deepEqual([error.name, error.code], ['UniqueConstraintViolationException', '23505'])
  })
  await it('pool end', () => orm.close(true))
})
