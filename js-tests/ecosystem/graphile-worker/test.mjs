import { Logger, makeWorkerUtils, quickAddJob, run, runOnce } from 'graphile-worker'
import pg from 'pg'
import { assert, connectionString, rejects, suite } from './support.mjs'

suite('graphile-worker', async (it) => {
  const pgPool = new pg.Pool({ connectionString, max: 5 })
  pgPool.on('error', () => {})
  pgPool.on('connect', (client) => client.on('error', () => {}))
  const options = { pgPool, logger: new Logger(() => () => {}) }

  await it('schema', async () => {
    const utils = await makeWorkerUtils(options)
    await utils.migrate()
    await utils.release()
  })
  await it('insert and run once', async () => {
    const seen = []
    await quickAddJob(options, 'greet', { name: 'Ada ü' }, { jobKey: 'one' })
    await quickAddJob(options, 'greet', { name: 'Bo' }, { jobKey: 'one' })
    await runOnce({ ...options, taskList: { greet: (payload) => void seen.push(payload.name) } })
    assert.deepEqual(seen, ['Bo'])
  })
  await it('a failing task is kept with its error', async () => {
    await quickAddJob(options, 'fail', {}, { maxAttempts: 1 })
    await runOnce({
      ...options,
      taskList: {
        fail() {
          throw new Error('it failed')
        },
      },
    })
    const { rows } = await pgPool.query("SELECT last_error FROM graphile_worker.jobs WHERE task_identifier = 'fail'")
    assert.match(rows[0].last_error, /it failed/)
  })
  await it('is told of new jobs by LISTEN, and stops', async () => {
    let done
    const ran = new Promise((resolve) => (done = resolve))
    const runner = await run({
      ...options,
      concurrency: 2,
      pollInterval: 60000,
      noHandleSignals: true,
      taskList: { told: (payload) => done(payload.n) },
    })
    await quickAddJob(options, 'told', { n: 7 })
    assert.equal(await ran, 7)
    await runner.stop()
  })
  await it('a violated constraint', () =>
    rejects(pgPool.query('INSERT INTO graphile_worker._private_jobs (id) VALUES (NULL)'), { code: /^2|^4/ }))
  await it('pool end', () => pgPool.end())
})
