// npm run package: dist/heys-db-<version>.tgz, with the stripped addon inside and no install script, so that
// `npm install` takes it in an empty folder, offline but for pg-types, with no compiler on PATH.

import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { addon, build } from './build.mjs'
import { must, root } from './lib/run.mjs'
import { note, section, size, step } from './lib/say.mjs'
import { setupOrExit } from './setup.mjs'

const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))
/** HEYS_DIST names another folder. */
export const dist = path.resolve(root, process.env.HEYS_DIST || 'dist')
export const tarball = path.join(dist, `heys-db-${manifest.version}.tgz`)

/** What users install: the manifest without what only development needs. */
function publishedManifest() {
  const { devDependencies, scripts, ...published } = manifest
  return { ...published, cpu: [process.arch] }
}

/** vendor.js with pg-connection-string, pgpass and pg-protocol inside, their licences on top. */
async function bundleVendor(file) {
  const esbuild = await import('esbuild')
  const licences = ['pg-connection-string', 'pgpass', 'split2', 'pg-protocol'].map((name) => {
    const folder = path.join(root, 'node_modules', name)
    const { version, license } = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'))
    const text = ['LICENSE', 'LICENSE.md', 'LICENSE.txt'].map((f) => path.join(folder, f)).find(existsSync)
    return `${name} ${version}, ${license}\n\n${text ? readFileSync(text, 'utf8').trim() : ''}`
  })
  await esbuild.build({
    entryPoints: [path.join(root, 'node-binding/js/vendor.js')],
    outfile: file,
    allowOverwrite: true,
    bundle: true,
    platform: 'node',
    target: 'node18',
    format: 'cjs',
    banner: { js: `/*\nMade from these packages:\n\n${licences.join('\n\n---\n\n').replaceAll('*/', '* /')}\n*/` },
    logLevel: 'warning',
  })
}

/** Builds, unless `fresh` is false, and packs. Resolves the tarball's path. */
export async function makePackage({ fresh = true } = {}) {
  if (fresh) await build()
  section('Package')
  const stage = path.join(dist, 'stage')
  rmSync(stage, { recursive: true, force: true })
  mkdirSync(stage, { recursive: true })
  for (const pattern of [...manifest.files.filter((entry) => !entry.includes('*')), 'README.md']) {
    if (existsSync(path.join(root, pattern)))
      cpSync(path.join(root, pattern), path.join(stage, pattern), { recursive: true })
  }
  for (const types of ['index.d.ts', 'index.d.mts', 'backup-handler.d.ts']) {
    const from = path.join(root, 'node-binding', types)
    if (existsSync(from)) cpSync(from, path.join(stage, 'node-binding', types))
  }
  rmSync(path.join(stage, 'node-binding/js/native.d.ts'), { force: true })
  writeFileSync(path.join(stage, 'package.json'), `${JSON.stringify(publishedManifest(), null, 2)}\n`)
  await step('pg-connection-string, pgpass and pg-protocol bundled', () =>
    bundleVendor(path.join(stage, 'node-binding/js/vendor.js')),
  )

  const staged = path.join(stage, path.relative(root, addon))
  const before = statSync(staged).size
  await step('addon stripped', () => must('strip', ['--strip-unneeded', staged], { print: false }))
  note(`${size(before)} to ${size(statSync(staged).size)}`)
  await step(`packed ${path.relative(root, tarball)}`, () =>
    must('npm', ['pack', '--silent', '--pack-destination', dist], { cwd: stage, print: false }),
  )
  note(size(statSync(tarball).size))
  rmSync(stage, { recursive: true })
  return tarball
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await setupOrExit()
  try {
    await makePackage({ fresh: !process.argv.includes('--no-build') })
  } catch (error) {
    console.error(error.message)
    process.exit(1)
  }
}
