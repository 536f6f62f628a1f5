// npm run test:runtimes: the suite that runs on pg, too, on other versions of Node and on Bun (from npm's platform
// packages), which load the very same addon; and a program bundled by esbuild, and one under jest's fake timers. Words
// choose some of them.

import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { must, root, run } from './lib/run.mjs'
import { done, failed, note, section } from './lib/say.mjs'

const NODES = { 'node-18': '18.20.8', 'node-22': '22.23.3' }
const BUN = '1.4.5'
const JEST = '30.5.2'
const NPM = ['--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error']
const LIMIT = 300_000

const suite = readdirSync(path.join(root, 'js-tests'))
  .filter((file) => file.endsWith('.test.js'))
  .map((file) => path.join('js-tests', file))

/** A folder with these packages; resolves its path. */
async function folderWith(parent, name, ...packages) {
  const folder = path.join(parent, name)
  mkdirSync(folder)
  writeFileSync(path.join(folder, 'package.json'), '{ "private": true }')
  await must('npm', ['install', ...packages, ...NPM], { cwd: folder, print: false })
  return folder
}

async function node(parent, name) {
  const platform = `node-${process.platform}-${process.arch}`
  const folder = await folderWith(parent, name, `${platform}@${NODES[name]}`)
  const bin = path.join(folder, 'node_modules', platform, 'bin')
  const env = { ...process.env, PATH: bin + path.delimiter + process.env.PATH, HEYS_PROVIDER: 'heys' }
  const program = path.join(bin, 'node')
  const { code, output } = await run(program, ['--test', '--test-reporter=tap', ...suite], {
    env,
    print: false,
    limit: LIMIT,
  })
  const passed = Number(/^# pass (\d+)/m.exec(output)?.[1] ?? 0)
  return { ok: code === 0 && passed > 100, words: `${passed} tests`, output }
}

/** The tests that failed in a run of `bun test` (which serves node:test), and how many passed. */
function bunOutcome(output) {
  const failures = new Set(Array.from(output.matchAll(/^\(fail\) (.*?)(?: \[[\d.]+m?s\])?$/gm), ([, name]) => name))
  return { failures, passed: Number(/^ *(\d+) pass$/m.exec(output)?.[1] ?? 0) }
}

/** What fails on Bun with pg is Bun's own. With heys-db, nothing else may fail. */
async function bun(parent, name, sandbox) {
  const platform = `@oven/bun-${process.platform}-${process.arch}`
  const folder = await folderWith(parent, name, `${platform}@${BUN}`)
  const program = path.join(folder, 'node_modules', platform, 'bin', 'bun')
  const { host, port, user, password, database } = sandbox.pg.settings
  const server = `postgres://${user}:${encodeURIComponent(password)}@${host}:${port}/${database}`
  const files = suite.filter((file) => !file.endsWith('pooler.test.js')).map((file) => `./${file}`)
  const outcomes = {}
  for (const provider of ['pg', 'heys']) {
    const env = { ...process.env, HEYS_TEST_PG: server, HEYS_PROVIDER: provider }
    const { output } = await run(program, ['test', '--timeout', '30000', ...files], { env, print: false, limit: LIMIT })
    outcomes[provider] = { output, ...bunOutcome(output) }
  }
  const { pg, heys } = outcomes
  const ours = Array.from(heys.failures).filter((test) => !pg.failures.has(test))
  return {
    ok: ours.length === 0 && heys.passed > 100 && heys.passed >= pg.passed,
    words: `${heys.passed} tests; ${pg.failures.size} others fail on pg, too`,
    output: `only with heys-db: ${ours.join(', ')}\n${heys.output}`,
  }
}

/** Jest replaces the timers of its tests; the addon's own go on. */
async function jest(parent, name, sandbox) {
  const folder = await folderWith(parent, name, `jest@${JEST}`)
  writeFileSync(
    path.join(folder, 'fake.test.js'),
    `const { Pool, Client } = require(${JSON.stringify(root)})
     const config = ${JSON.stringify(sandbox.pg.settings)}
     beforeEach(() => jest.useFakeTimers())
     afterEach(() => jest.useRealTimers())
     test('queries, pools and timeouts of the server under fake timers', async () => {
       const pool = new Pool({ ...config, max: 2, idleTimeoutMillis: 1000, connectionTimeoutMillis: 5000 })
       const results = await Promise.all([1, 2, 3, 4].map((n) => pool.query('SELECT $1::int AS n', [n])))
       expect(results.map(({ rows }) => rows[0].n)).toEqual([1, 2, 3, 4])
       await expect(pool.query("SET statement_timeout TO 20; SELECT pg_sleep(5)")).rejects.toMatchObject({ code: '57014' })
       await pool.end()
     })
     test('query_timeout counts the faked time', async () => {
       const client = new Client({ ...config, query_timeout: 60000 })
       await client.connect()
       const slow = client.query('SELECT pg_sleep(30)')
       const refused = expect(slow).rejects.toThrow('Query read timeout')
       jest.advanceTimersByTime(60001)
       await refused
       jest.useRealTimers()
       expect((await client.query('SELECT 1 AS a')).rows).toEqual([{ a: 1 }])
       await client.end()
     })`,
  )
  const { code, output } = await run('npx', ['jest', '--ci'], { cwd: folder, print: false, limit: LIMIT })
  return { ok: code === 0, words: '2 tests', output }
}

/** One file with everything but the addon, which lies beside it. */
async function esbuild(parent, name, sandbox) {
  const { build } = await import('esbuild')
  const folder = path.join(parent, name)
  mkdirSync(folder)
  const entry = path.join(folder, 'entry.mjs')
  writeFileSync(
    entry,
    `import { Pool, types } from ${JSON.stringify(path.join(root, 'node-binding/js/index.js'))}
     types.setTypeParser(20, Number)
     const pool = new Pool(${JSON.stringify(sandbox.pg.settings)})
     const { rows } = await pool.query("SELECT 1::int8 AS a, 'ü' AS b, now() AS c")
     if (rows[0].a !== 1 || rows[0].b !== 'ü' || !(rows[0].c instanceof Date)) throw new Error(JSON.stringify(rows))
     await pool.end()
     console.log('bundled')`,
  )
  const outfile = path.join(folder, 'bundle.mjs')
  const banner = { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" }
  const shims = { __dirname: JSON.stringify(path.join(root, 'node-binding/js')) }
  await build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    external: ['*.node'],
    banner,
    define: shims,
    logLevel: 'silent',
  })
  const { code, output } = await run('node', [outfile], { cwd: folder, print: false, limit: LIMIT })
  return { ok: code === 0 && output.includes('bundled'), words: 'one file', output }
}

const RUNTIMES = { ...Object.fromEntries(Object.keys(NODES).map((name) => [name, node])), bun, jest, esbuild }

/** Tests these runtimes, all without names. Resolves { name, failure? } of each. */
export async function testRuntimes(names = Object.keys(RUNTIMES)) {
  const unknown = names.filter((name) => !Object.hasOwn(RUNTIMES, name))
  if (unknown.length > 0)
    throw new Error(`There is no runtime ${unknown.join(', ')}; there are ${Object.keys(RUNTIMES).join(', ')}`)
  const { createRequire } = await import('node:module')
  const { startSandbox } = createRequire(import.meta.url)('../sandbox/client')
  const parent = mkdtempSync(path.join(tmpdir(), 'heys-runtimes-'))
  const sandbox = await startSandbox({ postgres: true })
  const { host, port, user, password, database } = sandbox.pg
  const pg = { settings: { host, port, user, password, database } }
  const results = []
  try {
    for (const name of names) {
      const start = performance.now()
      const failure = (error) => ({ ok: false, output: error.stack })
      const { ok, words, output } = await RUNTIMES[name](parent, name, { pg }).catch(failure)
      results.push(ok ? { name } : { name, failure: output })
      if (ok) done(`${name}: ${words}`, performance.now() - start)
      else {
        failed(name)
        note(output.trimEnd().slice(-6000))
      }
    }
  } finally {
    await sandbox.stop()
    rmSync(parent, { recursive: true, force: true })
  }
  return results
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  section('Runtimes')
  const words = process.argv.slice(2)
  const results = await testRuntimes(words.length > 0 ? words : undefined)
  const bad = results.filter(({ failure }) => failure !== undefined)
  console.log(`${results.length - bad.length} passed, ${bad.length} failed, 0 skipped`)
  process.exitCode = bad.length > 0 ? 1 : 0
}
