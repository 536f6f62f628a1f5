// npm run package:functions: lays every function out as it is deployed, writes its lockfile there, proves that
// `npm ci --omit=dev` and the handler's load work without a compiler, zips it and says what an upload needs.

import { createHash } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  cpSync,
  createWriteStream,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { finished } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { must, root } from './lib/run.mjs'
import { note, section, size, step } from './lib/say.mjs'
import { dist, makePackage, tarball } from './package.mjs'
import { postgresBin, setupOrExit } from './setup.mjs'

export const FUNCTIONS = ['rpc', 'rest', 'auth', 'leads', 'payments']
  .map((name) => `heys-api-${name}`)
  .concat('heys-backup')
/** A larger zip goes through Object Storage (Yandex Cloud Functions, limits). */
const DIRECT_LIMIT = 3.5 * 1024 * 1024
/** nodejs18 and nodejs22 run on Ubuntu 22.04. */
const GLIBC_LIMIT = [2, 35]
/** Part of glibc itself: the runtime's own are used. */
const GLIBC = /^(ld-linux.*|lib(c|m|dl|rt|pthread|resolv|util|nsl|anl)\.so.*|linux-vdso.*)$/

export const functionsFolder = path.join(dist, 'functions')
const sources = path.join(root, 'examples/functions')

/** The symbol versions of glibc that a binary asks for, newest last. */
export async function glibcVersions(file) {
  const table = await must('objdump', ['-T', file], { print: false })
  const versions = [...table.matchAll(/\(?GLIBC_(\d+)\.(\d+)(?:\.\d+)?\)?/g)].map((match) => [+match[1], +match[2]])
  return versions.sort((a, b) => a[0] - b[0] || a[1] - b[1])
}

async function checkGlibc(file) {
  const newest = (await glibcVersions(file)).at(-1) ?? [0, 0]
  if (newest[0] > GLIBC_LIMIT[0] || (newest[0] === GLIBC_LIMIT[0] && newest[1] > GLIBC_LIMIT[1])) {
    throw new Error(`${file} needs GLIBC_${newest.join('.')}; the runtime has ${GLIBC_LIMIT.join('.')}`)
  }
  return newest
}

/**
 * The real pg_dump (Debian's /usr/bin/pg_dump is a script) as bin/pg_dump, its libraries other than glibc's in lib/,
 * where runBackup looks for them. Resolves its version and the newest glibc that any of it needs.
 */
export async function packPgDump(folder, bin = postgresBin()) {
  const pgDump = path.join(bin, 'pg_dump')
  mkdirSync(path.join(folder, 'bin'), { recursive: true })
  mkdirSync(path.join(folder, 'lib'), { recursive: true })
  const copied = [path.join(folder, 'bin/pg_dump')]
  copyFileSync(pgDump, copied[0])
  const loaded = await must('ldd', [pgDump], { print: false })
  for (const [, name, file] of loaded.matchAll(/^\s*(\S+) => (\/\S+)/gm)) {
    if (GLIBC.test(name)) continue
    const to = path.join(folder, 'lib', name)
    copyFileSync(file, to)
    copied.push(to)
  }
  let newest = [0, 0]
  for (const file of copied) {
    chmodSync(file, 0o755)
    const needs = await checkGlibc(file)
    if (needs[1] > newest[1]) newest = needs
  }
  const version = (await must(pgDump, ['--version'], { print: false })).trim()
  return { version, glibc: newest.join('.') }
}

/** index.js, package.json with the tarball as its heys-db, shared/, the lockfile. */
async function layOut(name) {
  const folder = path.join(functionsFolder, name)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  copyFileSync(path.join(sources, name, 'index.js'), path.join(folder, 'index.js'))
  if (name !== 'heys-backup') cpSync(path.join(sources, 'shared'), path.join(folder, 'shared'), { recursive: true })
  copyFileSync(tarball, path.join(folder, path.basename(tarball)))
  const manifest = JSON.parse(readFileSync(path.join(sources, name, 'package.json'), 'utf8'))
  manifest.dependencies['heys-db'] = `file:${path.basename(tarball)}`
  writeFileSync(path.join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
  const certificate = process.env.PG_ROOT_CERT_FILE
  if (certificate) {
    mkdirSync(path.join(folder, 'certs'))
    copyFileSync(certificate, path.join(folder, 'certs/root.crt'))
  }
  const lock = ['install', '--package-lock-only', '--omit=dev', '--ignore-scripts', '--omit-lockfile-registry-resolved']
  await must('npm', [...lock, '--prefer-offline', '--no-audit', '--no-fund'], { cwd: folder, print: false })
  return folder
}

/** A PATH with node and nothing that compiles. */
function barePath(folder) {
  const only = path.join(folder, 'path')
  mkdirSync(only)
  for (const [name, target] of [
    ['node', process.execPath],
    ['sh', '/bin/sh'],
  ]) {
    writeFileSync(path.join(only, name), `#!/bin/sh\nexec ${target} "$@"\n`, { mode: 0o755 })
  }
  return only
}

/** Installs a copy as the platform does and loads its handler. */
async function prove(folder) {
  const proof = mkdtempSync(path.join(tmpdir(), 'heys-proof-'))
  try {
    const copy = path.join(proof, 'function')
    cpSync(folder, copy, { recursive: true })
    const npm = (await must('sh', ['-c', 'readlink -f "$(command -v npm)"'], { print: false })).trim()
    const env = { PATH: barePath(proof) }
    const install = [npm, 'ci', '--omit=dev', '--prefer-offline', '--no-audit', '--no-fund']
    await must(process.execPath, install, { cwd: copy, print: false, env })
    const load = `if (typeof require('./index.js').handler !== 'function') throw new Error('no handler')`
    await must(process.execPath, ['-e', load], { cwd: copy, print: false, env })
  } finally {
    rmSync(proof, { recursive: true, force: true })
  }
}

/** A zip with the files' modes and one fixed time, so that the same content gives the same bytes. */
async function zip(folder, file) {
  const { ZipFile } = (await import('yazl')).default
  const archive = new ZipFile()
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath ?? entry.path, entry.name))
    .sort()
  for (const full of files) {
    const mode = statSync(full).mode & 0o111 ? 0o100755 : 0o100644
    archive.addFile(full, path.relative(folder, full), {
      mtime: new Date(Date.UTC(2000, 0, 1)),
      mode,
      compressionLevel: 9,
    })
  }
  archive.end()
  const out = createWriteStream(file)
  archive.outputStream.pipe(out)
  await finished(out)
  const bytes = readFileSync(file)
  return { bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
}

/** What `yc serverless function version create` takes for this zip. */
export function uploadFlags(file, { bytes, sha256 }, bucket = process.env.DEPLOY_BUCKET || 'heys-deploy') {
  if (bytes <= DIRECT_LIMIT) return `--source-path ${path.relative(root, file)}`
  const object = `functions/${sha256.slice(0, 16)}/${path.basename(file)}`
  return `--package-bucket-name ${bucket} --package-object-name ${object} --package-sha256 ${sha256}`
}

/** Packs the named functions; resolves `[{name, file, bytes, sha256, flags}]`, also left in dist/functions/index.json. */
export async function packageFunctions(names = FUNCTIONS, { fresh = true } = {}) {
  await makePackage({ fresh })
  section('Functions')
  const packed = []
  mkdirSync(functionsFolder, { recursive: true })
  for (const name of names) {
    const folder = await step(`${name} laid out, lockfile written`, () => layOut(name))
    await step('npm ci --omit=dev and the handler, with no compiler on PATH', () => prove(folder))
    if (name === 'heys-backup') {
      await step(
        ({ version, glibc }) => `${version} packed with its libraries; they need glibc ${glibc}`,
        () => packPgDump(folder),
      )
    }
    const file = path.join(functionsFolder, `${name}.zip`)
    const made = await zip(folder, file)
    const flags = uploadFlags(file, made)
    note(`${path.relative(root, file)} ${size(made.bytes)}`)
    note(flags)
    packed.push({ name, file: path.relative(root, file), ...made, flags })
  }
  writeFileSync(path.join(functionsFolder, 'index.json'), `${JSON.stringify(packed, null, 2)}\n`)
  return packed
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await setupOrExit()
  const flags = process.argv.slice(2).filter((arg) => arg.startsWith('--'))
  const names = process.argv.slice(2).filter((arg) => !arg.startsWith('--'))
  try {
    await packageFunctions(names.length > 0 ? names : FUNCTIONS, { fresh: !flags.includes('--no-build') })
  } catch (error) {
    console.error(error.message)
    process.exit(1)
  }
}
