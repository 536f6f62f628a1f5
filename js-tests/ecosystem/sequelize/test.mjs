import { DataTypes, QueryTypes, Sequelize } from 'sequelize'
import { assert, connectionString, rejects, suite } from './support.mjs'

suite('Sequelize', async (it) => {
  const db = new Sequelize(connectionString, {
    logging: false,
    pool: { max: 3 },
    dialectOptions: { application_name: 'seq' },
  })
  const Person = db.define('person', {
    name: { type: DataTypes.STRING, unique: true, allowNull: false },
    data: DataTypes.JSONB,
    born: DataTypes.DATEONLY,
    tags: DataTypes.ARRAY(DataTypes.STRING),
    price: DataTypes.DECIMAL,
    mood: DataTypes.ENUM('sad', 'glad'),
    when: DataTypes.RANGE(DataTypes.DATE),
  })

  await it('schema', async () => {
    await db.authenticate()
    await db.sync({ force: true })
  })
  await it('insert and select, with its own type parsers', async () => {
    const range = [new Date('2024-01-01'), new Date('2024-02-01')]
    const made = await Person.create({
      name: 'Ada',
      data: { a: 1 },
      born: '2000-02-29',
      tags: ['x'],
      price: '1.50',
      mood: 'glad',
      when: range,
    })
    const found = await Person.findByPk(made.id)
    assert.deepEqual([found.born, found.tags, found.price, found.mood], ['2000-02-29', ['x'], '1.50', 'glad'])
    assert.equal(found.when[1].value.getTime(), range[1].getTime())
    await Person.bulkCreate([{ name: 'Bo' }, { name: 'Cy' }])
    const [{ app }] = await db.query("SELECT current_setting('application_name') AS app", { type: QueryTypes.SELECT })
    assert.equal(app, 'seq')
    assert.deepEqual(await db.query('SELECT $1::int AS a', { bind: [3], type: QueryTypes.SELECT }), [{ a: 3 }])
  })
  await it('transaction, rolled back and kept', async () => {
    await rejects(
      db.transaction(async (transaction) => {
        await Person.destroy({ where: {}, transaction })
        throw new Error('no')
      }),
      { message: 'no' },
    )
    await db.transaction((transaction) => Person.update({ price: 2 }, { where: { name: 'Bo' }, transaction }))
    assert.equal(await Person.count({ where: { price: 2 } }), 1)
  })
  await it('a violated constraint', async () => {
    const error = await Person.create({ name: 'Ada' }).then(null, (error) => error)
    assert.deepEqual(
      [error.name, error.parent.code, error.errors[0].path],
      ['SequelizeUniqueConstraintError', '23505', 'name'],
    )
  })
  await it('pool end', () => db.close())
})
