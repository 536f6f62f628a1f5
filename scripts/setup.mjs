// Installs what building and testing need, and says what is missing when it may not. Only Node's own modules here:
// it is the first thing that runs in a fresh clone.

import { createHash } from 'node:crypto'
import { accessSync, constants, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { must, root, run } from './lib/run.mjs'
import { note, step } from './lib/say.mjs'

const NODE = [20, 19]

class Missing extends Error {}

function onPath(program) {
  return process.env.PATH.split(path.delimiter).some((folder) => {
    try {
      accessSync(path.join(folder, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

/** Debian's server binaries live outside PATH, one folder a major version. */
export function postgresBin() {
  const base = '/usr/lib/postgresql'
  if (!existsSync(base)) return undefined
  return readdirSync(base)
    .filter((major) => existsSync(path.join(base, major, 'bin/postgres')))
    .sort((a, b) => b - a)
    .map((major) => path.join(base, major, 'bin'))[0]
}

function hasPgcrypto() {
  const base = '/usr/share/postgresql'
  return (
    existsSync(base) &&
    readdirSync(base).some((major) => existsSync(path.join(base, major, 'extension/pgcrypto.control')))
  )
}

/** Debian packages → is what we need from them there already? */
const PACKAGES = {
  postgresql: () => postgresBin() !== undefined && hasPgcrypto(),
  pgbouncer: () => onPath('pgbouncer') || existsSync('/usr/sbin/pgbouncer'),
  'build-essential': () => onPath('cc') && onPath('make'),
  // perl-base alone lacks the modules that OpenSSL's Configure uses.
  perl: async () => (await run('perl', ['-MIPC::Cmd', '-MFindBin', '-e', '1'], { print: false })).code === 0,
  // It cannot start where the C library's symbols are missing.
  'valgrind libc6-dbg': async () => (await run('valgrind', ['--quiet', 'true'], { print: false })).code === 0,
}

async function missingPackages() {
  const missing = []
  for (const [name, present] of Object.entries(PACKAGES)) if (!(await present())) missing.push(...name.split(' '))
  return missing
}

async function systemPackages() {
  const missing = await missingPackages()
  if (missing.length === 0) return
  const command = `apt-get install -y --no-install-recommends ${missing.join(' ')}`
  if (!onPath('apt-get')) {
    throw new Missing(`These Debian packages, or your system's equal of them, are missing: ${missing.join(', ')}`)
  }
  if (process.getuid() !== 0) throw new Missing(`Packages are missing. As root, run: ${command}`)

  if (missing.includes('postgresql')) {
    // The tests start servers of their own; the package must not start one on port 5432.
    const config = '/etc/postgresql-common/createcluster.conf'
    if (!existsSync(config)) {
      mkdirSync(path.dirname(config), { recursive: true })
      writeFileSync(config, 'create_main_cluster = false\n')
    }
  }
  const env = { DEBIAN_FRONTEND: 'noninteractive', UCF_FORCE_CONFFOLD: '1' }
  const quiet = { print: false, env }
  await step(`installed ${missing.join(', ')}`, async () => {
    await must('apt-get', ['-qq', 'update'], quiet)
    const options = ['-qq', '-y', '--no-install-recommends', '-o', 'Dpkg::Options::=--force-confold']
    await must('apt-get', ['install', ...options, ...missing], quiet)
    // Debian starts it; the tests start their own.
    if (missing.includes('pgbouncer')) await run('service', ['pgbouncer', 'stop'], { print: false })
  })
  const still = await missingPackages()
  if (still.length > 0) throw new Missing(`Still missing after the installation: ${still.join(', ')}`)
}

async function nodePackages() {
  const lock = readFileSync(path.join(root, 'package-lock.json'))
  const wanted = createHash('sha256').update(lock).digest('hex')
  const stamp = path.join(root, 'node_modules/.installed-from')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return
  await step('npm packages installed', () =>
    // No package here needs an install script.
    must('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { print: false }),
  )
  writeFileSync(stamp, wanted)
}

async function crates() {
  if (!onPath('cargo')) throw new Missing('Rust is missing: install it with rustup (https://rustup.rs)')
  const offline = await run('cargo', ['fetch', '--locked', '--offline', '--quiet'], { print: false })
  if (offline.code === 0) return
  await step('crates fetched', () => must('cargo', ['fetch', '--locked', '--quiet'], { print: false }))
}

/** Makes this clone ready to build; does nothing, quickly, when it is. Throws with one line that says what to do. */
export async function setup() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major < NODE[0] || (major === NODE[0] && minor < NODE[1])) {
    throw new Missing(`Development needs Node ${NODE.join('.')} or newer; this is ${process.versions.node}`)
  }
  if (process.platform !== 'linux') throw new Missing(`Linux with glibc is needed; this is ${process.platform}`)
  await systemPackages()
  await crates()
  await nodePackages()
}

/** For scripts run by hand: prints what is missing without a stack, ends with code 1. */
export async function setupOrExit() {
  try {
    await setup()
  } catch (error) {
    console.error(error instanceof Missing ? `Cannot go on. ${error.message}` : error.message)
    process.exit(1)
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await step('ready to build', setupOrExit)
  note('next: npm run build, npm test, npm run demo')
}
