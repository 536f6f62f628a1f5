'use strict'

const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const readline = require('node:readline')
const { it } = require('node:test')
const { settings } = require('../server')
const { startProxy } = require('../wire-proxy')

const PROGRAM = `
  const { pg } = require(${JSON.stringify(require.resolve('../provider'))})
  const pool = new pg.Pool({ ...JSON.parse(process.argv[1]), max: 3, idleTimeoutMillis: 300 })
  pool.on('error', () => {})
  const all = () => Promise.all([1, 2, 3].map((n) => pool.query('SELECT $1::int AS n, pg_sleep(0.02)', [n])))
  require('readline').createInterface({ input: process.stdin }).on('line', () => {
    all().then(
      (results) => console.log(results.map(({ rows }) => rows[0].n).join()),
      (error) => console.log('FAILED ' + error.message),
    )
  })`

/** A process with a pool; `ask` makes it run three queries at once. */
function start(target) {
  const child = spawn(process.execPath, ['-e', PROGRAM, JSON.stringify(target)], { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return {
    child,
    async ask() {
      child.stdin.write('\n')
      return (await lines.next()).value
    },
  }
}

for (const how of ['cut', 'finish']) {
  it(`a process that was suspended past the idle time, connections ${how}, goes on with its next query`, async () => {
    const proxy = await startProxy(await settings())
    const { child, ask } = start({ ...(await settings()), host: proxy.host, port: proxy.port })
    try {
      assert.equal(await ask(), '1,2,3')
      assert.equal(proxy.accepted, 3)
      child.kill('SIGSTOP')
      proxy[how]()
      await new Promise((resolve) => setTimeout(resolve, 500))
      const answer = ask()
      child.kill('SIGCONT')
      assert.equal(await answer, '1,2,3')
      assert.equal(proxy.accepted, 6)
    } finally {
      child.kill('SIGKILL')
      await proxy.close()
    }
  })
}
