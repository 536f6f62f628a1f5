import { PgBoss } from 'pg-boss'
import pg from 'pg'
import { assert, connectionString, rejects, suite } from './support.mjs'

suite('pg-boss', async (it) => {
  const boss = new PgBoss({ connectionString, max: 3 })
  const errors = []
  boss.on('error', (error) => errors.push(error))

  await it('schema', () => boss.start())
  await it('insert and fetch', async () => {
    await boss.createQueue('work')
    const id = await boss.send('work', { n: 1 }, { priority: 3 })
    await boss.insert('work', [{ data: { n: 2 } }, { data: { n: 3 } }])
    const jobs = await boss.fetch('work', { batchSize: 3 })
    assert.deepEqual(jobs.map((job) => job.data.n).sort(), [1, 2, 3])
    await boss.complete(
      'work',
      jobs.map((job) => job.id),
    )
    const [found] = await boss.findJobs('work', { id })
    assert.equal(found.state, 'completed')
  })
  await it('works a queue', async () => {
    const done = new Promise((resolve) =>
      boss.work('work', { pollingIntervalSeconds: 0.5 }, async ([job]) => resolve(job.data.text)),
    )
    await boss.send('work', { text: 'ü😀' })
    assert.equal(await done, 'ü😀')
  })
  await it('inside a transaction of the caller', async () => {
    const client = new pg.Client({ connectionString })
    await client.connect()
    const db = { executeSql: (text, values) => client.query(text, values) }
    await client.query('BEGIN')
    await boss.createQueue('later')
    await boss.send('later', { kept: false }, { db })
    await client.query('ROLLBACK')
    await client.end()
    assert.deepEqual(await boss.fetch('later'), [])
  })
  await it('a violated constraint', () => rejects(boss.send('no such queue', {}), (error) => error instanceof Error))
  await it('pool end', async () => {
    await boss.stop({ graceful: true, timeout: 5000 })
    assert.deepEqual(errors, [])
  })
})
