// npm run package: dist/heys-db-<version>.tgz, with the addon inside and no install script, so that
// `npm install` takes it in an empty folder, offline but for pg-types, with no compiler on PATH.

import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from './build.mjs'
import { bundle } from './lib/bundle.mjs'
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

/** Of node-binding/js, the addon and the ESM entry; its modules come bundled. */
function isPublished(file) {
  return path.dirname(file) !== path.join(root, 'node-binding/js') || /\.(node|mjs)$/.test(file)
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
      cpSync(path.join(root, pattern), path.join(stage, pattern), { recursive: true, filter: isPublished })
  }
  for (const types of ['index.d.ts', 'index.d.mts', 'backup-handler.d.ts']) {
    const from = path.join(root, 'node-binding', types)
    if (existsSync(from)) cpSync(from, path.join(stage, 'node-binding', types))
  }
  writeFileSync(path.join(stage, 'package.json'), `${JSON.stringify(publishedManifest(), null, 2)}\n`)
  await step('JavaScript bundled', () => bundle(stage))

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
