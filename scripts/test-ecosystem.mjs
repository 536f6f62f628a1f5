// npm run test:ecosystem: the libraries of js-tests/ecosystem, unmodified, on heys-db in place of pg. Each is installed in
// a fresh tree with heys-db's tarball as `pg`. Names choose some of them; --pg runs them on pg itself.

import { randomBytes } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { must, root, run } from './lib/run.mjs'
import { done, failed, note, section } from './lib/say.mjs'
import { makePackage } from './package.mjs'

const require = createRequire(import.meta.url)
const folder = path.join(root, 'js-tests/ecosystem')
const PG = '8.23.1'
/** Node from npm's platform packages, for libraries that demand a newer one than this. */
const NODE_22 = '22.23.3'
const NPM = ['--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error']

export const libraries = readdirSync(folder)
  .filter((name) => existsSync(path.join(folder, name, 'package.json')))
  .sort()

const manifestOf = (name) => JSON.parse(readFileSync(path.join(folder, name, 'package.json'), 'utf8'))

/** Whether this Node is none that the library takes: it asks for 22 or newer. */
const needsNewer = ({ engines }) =>
  engines !== undefined && />=22/.test(engines.node) && parseInt(process.versions.node, 10) < 22

/** A folder whose node_modules/.bin/node is Node 22. */
async function newerNode(parent) {
  const made = path.join(parent, 'node-22')
  mkdirSync(made)
  writeFileSync(path.join(made, 'package.json'), '{ "private": true }')
  await must('npm', ['install', `node-${process.platform}-${process.arch}@${NODE_22}`, ...NPM], {
    cwd: made,
    print: false,
  })
  return path.join(made, `node_modules/node-${process.platform}-${process.arch}/bin`)
}

/** Lays out and installs the tree; resolves its folder. */
async function install(name, parent, tarball) {
  const tree = path.join(parent, name)
  cpSync(path.join(folder, name), tree, { recursive: true })
  cpSync(path.join(folder, 'support.mjs'), path.join(tree, 'support.mjs'))
  const manifest = manifestOf(name)
  manifest.dependencies.pg = tarball === undefined ? PG : `file:${tarball}`
  manifest.overrides = { pg: '$pg' }
  writeFileSync(path.join(tree, 'package.json'), JSON.stringify(manifest, null, 2))
  await must('npm', ['install', ...NPM], { cwd: tree, print: false })
  return tree
}

/** An empty database of the test's own. */
async function database({ pg }, name) {
  const made = `eco_${name.replaceAll('-', '_')}_${randomBytes(3).toString('hex')}`
  await pg.sql({ sql: `CREATE DATABASE ${made} OWNER ${pg.user}` })
  return `postgres://${pg.user}:${encodeURIComponent(pg.password)}@${pg.host}:${pg.port}/${made}`
}

/** Runs one library's test; the output when it fails, else how many steps passed. */
async function testLibrary(name, { parent, tarball, sandbox, newer }) {
  const tree = await install(name, parent, tarball)
  const manifest = manifestOf(name)
  const bin = needsNewer(manifest) ? `${await newer()}${path.delimiter}` : ''
  const env = {
    ...process.env,
    PATH: bin + process.env.PATH,
    HEYS_PROVIDER: tarball === undefined ? 'pg' : 'heys',
    DATABASE_URL: await database(sandbox, name),
    // Prisma would download an engine that nothing here uses.
    PRISMA_SCHEMA_ENGINE_BINARY: '/bin/true',
    CHECKPOINT_DISABLE: '1',
  }
  if (manifest.scripts?.['prepare-test']) {
    const { code, output } = await run('npm', ['run', '--silent', 'prepare-test'], { cwd: tree, env, print: false })
    if (code !== 0) return { failure: output }
  }
  const { code, output } = await run('node', ['test.mjs'], { cwd: tree, env, print: false, limit: 120_000 })
  const passed = Number(/(\d+) passed/.exec(output)?.[1] ?? 0)
  return code === 0 && passed > 0 ? { passed } : { failure: output }
}

/** Tests these libraries, all without names. Resolves { name, milliseconds, passed?, failure? } of each. */
export async function testEcosystem(names = libraries, { onPg = false } = {}) {
  const unknown = names.filter((name) => !libraries.includes(name))
  if (unknown.length > 0)
    throw new Error(`There is no library ${unknown.join(', ')}; there are ${libraries.join(', ')}`)
  const tarball = onPg ? undefined : await makePackage()
  const { startSandbox } = require('../sandbox/client')
  const parent = mkdtempSync(path.join(tmpdir(), 'heys-ecosystem-'))
  const sandbox = await startSandbox({ postgres: true })
  let installed
  const newer = () => (installed ??= newerNode(parent))
  const results = []
  try {
    for (const name of names) {
      const start = performance.now()
      const result = await testLibrary(name, { parent, tarball, sandbox, newer }).catch((error) => ({
        failure: error.stack,
      }))
      results.push({ name, milliseconds: performance.now() - start, ...result })
      if (result.failure === undefined) done(`${name}: ${result.passed} steps`, performance.now() - start)
      else {
        failed(name)
        note(result.failure.trimEnd())
      }
    }
  } finally {
    await sandbox.stop()
    rmSync(parent, { recursive: true, force: true })
  }
  return results
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const words = process.argv.slice(2)
  const names = words.filter((word) => !word.startsWith('--'))
  section('Libraries of the ecosystem')
  const results = await testEcosystem(names.length > 0 ? names : libraries, { onPg: words.includes('--pg') })
  const bad = results.filter(({ failure }) => failure !== undefined)
  console.log(`${results.length - bad.length} passed, ${bad.length} failed, 0 skipped`)
  process.exitCode = bad.length > 0 ? 1 : 0
}
