// The drivers that heys-db is measured against, from npm, each in a folder of its own under target/, installed once; and
// heys-db's own package.
// pg itself is among the repository's own packages.

import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { must, run, targetDir } from '../lib/run.mjs'
import { note, step } from '../lib/say.mjs'
import { makePackage } from '../package.mjs'

const require = createRequire(import.meta.url)
const NPM = ['--no-audit', '--no-fund', '--no-package-lock', '--prefer-offline', '--loglevel=error']
const PG = '8.23.1'
const PG_NATIVE = '3.9.0'
const POSTGRES_JS = '3.4.9'
const BUN = '1.4.5'
const BUN_PACKAGE = `@oven/bun-${process.platform}-${process.arch}`

/** A folder with these packages; what is there already is kept. Resolves its node_modules. */
async function installed(name, packages, { args = [], env = {} } = {}) {
  const folder = path.join(targetDir, 'bench-peers', name)
  const stamp = path.join(folder, '.complete')
  if (!existsSync(stamp)) {
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder, { recursive: true })
    writeFileSync(path.join(folder, 'package.json'), '{ "private": true }\n')
    await step(`${packages.join(' and ')} installed`, () =>
      must('npm', ['install', ...packages, ...args, ...NPM], { cwd: folder, print: false, env }),
    )
    writeFileSync(stamp, '')
  }
  return path.join(folder, 'node_modules')
}

const versionOf = (folder) => JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8')).version

/** libpq's headers: Debian's libpq-dev, fetched by root where there is apt-get. Resolves libpq's version. */
async function libpq() {
  const ask = () => run('pg_config', ['--version', '--includedir'], { print: false })
  const found = ({ code, output }) => code === 0 && existsSync(path.join(output.split('\n').at(-2), 'libpq-fe.h'))
  let answer = await ask()
  if (!found(answer) && process.getuid() === 0) {
    const options = ['install', '-qq', '-y', '--no-install-recommends', 'libpq-dev']
    await run('apt-get', options, { print: false, env: { DEBIAN_FRONTEND: 'noninteractive' } })
    answer = await ask()
  }
  if (!found(answer)) throw new Error('libpq-dev is not installed')
  return answer.output.split('\n')[0].replace('PostgreSQL ', 'libpq ').replace(/ \(.*/, '')
}

const PEERS = {
  /** What users install, made of what is built: the package, not this repository's modules. */
  async heys() {
    const tarball = await makePackage({ fresh: false })
    const folder = path.join(targetDir, 'bench-peers/heys')
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(path.join(folder, 'node_modules'), { recursive: true })
    await must('tar', ['-xzf', tarball, '-C', folder])
    const types = path.dirname(require.resolve('pg-types/package.json'))
    symlinkSync(types, path.join(folder, 'node_modules/pg-types'))
    const module = path.join(folder, 'package')
    return { module, version: versionOf(module) }
  },

  async pg() {
    const module = path.dirname(require.resolve('pg/package.json'))
    return { module, version: versionOf(module) }
  },

  /** pg finds pg-native beside itself, so there is a pg beside it. Compiled here, for this Node. */
  async 'pg-native'() {
    const library = await libpq()
    // Without Node's own headers node-gyp would fetch them.
    const prefix = path.resolve(process.execPath, '../..')
    const env = existsSync(path.join(prefix, 'include/node/node.h')) ? { npm_config_nodedir: prefix } : {}
    const name = `pg-native-${PG_NATIVE}-abi-${process.versions.modules}`
    const modules = await installed(name, [`pg@${PG}`, `pg-native@${PG_NATIVE}`], { env })
    const module = path.join(modules, 'pg')
    const { code, output } = await run(process.execPath, ['-e', 'require(process.argv[1]).native.Pool', module], {
      print: false,
    })
    if (code !== 0) throw new Error(`it does not load: ${output}`)
    return { module, version: `${versionOf(path.join(modules, 'pg-native'))} (${library})` }
  },

  async postgres() {
    const modules = await installed(`postgres-${POSTGRES_JS}`, [`postgres@${POSTGRES_JS}`])
    return { module: path.join(modules, 'postgres'), version: POSTGRES_JS }
  },

  /** A runtime: its `program` takes the place of Node. */
  async bun() {
    const modules = await installed(`bun-${BUN}`, [`${BUN_PACKAGE}@${BUN}`], { args: ['--ignore-scripts'] })
    const program = path.join(modules, BUN_PACKAGE, 'bin/bun')
    const { code, output } = await run(program, ['--version'], { print: false })
    if (code !== 0) throw new Error(`it does not run here: ${output || `code ${code}`}`)
    return { program, version: output.trim() }
  },
}

/** Completes these drivers with what their peers bring. Resolves them, and those that cannot run with the reason. */
export async function withPeers(drivers) {
  const outcomes = new Map()
  for (const peer of new Set(drivers.map((driver) => driver.peer).filter(Boolean))) {
    const found = await PEERS[peer]().catch((error) => ({ why: error.message.trim() }))
    if (found.why !== undefined) note(`${peer} is left out: ${found.why}`)
    outcomes.set(peer, found)
  }
  const completed = drivers.map((driver) => ({ ...driver, ...outcomes.get(driver.peer) }))
  return {
    drivers: completed.filter(({ why }) => why === undefined),
    leftOut: completed.filter(({ why }) => why !== undefined).map(({ name, why }) => ({ name, why: firstLine(why) })),
  }
}

/** npm's own words name folders of this machine. */
const firstLine = (text) => text.split('\n')[0].replaceAll(targetDir, 'target')
