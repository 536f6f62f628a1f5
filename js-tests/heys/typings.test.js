'use strict'

const assert = require('node:assert/strict')
const { execFile } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { describe, it } = require('node:test')
const { promisify } = require('node:util')
const heys = require('../..')

const ROOT = path.join(__dirname, '../..')
const MODULES = path.join(ROOT, 'node_modules')
/** Declared by @types/pg and so by us; neither pg nor heys-db has such values. */
const TYPES_ALONE = ['ClientBase', 'Events']

// js-tests/types/usage.ts says whether the types are right; here it is whether they are of what there is.
it('index.d.ts declares the values that the module exports, and no others', () => {
  const text = fs.readFileSync(path.join(ROOT, 'node-binding/index.d.ts'), 'utf8')
  const declared = [...text.matchAll(/^export (?:class|const|function|import) (\w+)/gm)].map(([, name]) => name)
  for (const [, name] of text.matchAll(/^export \{ (\w+) \}/gm)) declared.push(name)
  const values = [...new Set(declared)].filter((name) => !TYPES_ALONE.includes(name))
  const exported = Object.getOwnPropertyNames(heys).filter((name) => !name.startsWith('_'))
  assert.deepEqual(values.sort(), exported.sort())
})

/** A program's folder in which `pg` is what `links` says. */
function folder(t, links) {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), 'heys-types-'))
  t.after(() => fs.rmSync(made, { recursive: true, force: true }))
  fs.cpSync(path.join(ROOT, 'js-tests/types/drop-in'), made, { recursive: true })
  fs.mkdirSync(path.join(made, 'node_modules/@types'), { recursive: true })
  for (const [name, target] of Object.entries({ '@types/node': path.join(MODULES, '@types/node'), ...links })) {
    fs.symlinkSync(target, path.join(made, 'node_modules', name))
  }
  const compilerOptions = { noEmit: true, strict: true, target: 'es2022', module: 'nodenext', types: ['node'] }
  fs.writeFileSync(path.join(made, 'package.json'), '{}')
  fs.writeFileSync(path.join(made, 'tsconfig.json'), JSON.stringify({ compilerOptions }))
  return made
}

const compile = (cwd) =>
  promisify(execFile)(process.execPath, [path.join(MODULES, 'typescript/bin/tsc'), '--project', '.'], { cwd }).catch(
    ({ stdout, stderr }) => assert.fail(`it does not compile:\n${stdout}${stderr}`),
  )

describe('a program typed for pg, with every export and overload of @types/pg', () => {
  it('compiles against @types/pg', (t) => compile(folder(t, { '@types/pg': path.join(MODULES, '@types/pg') })))
  it('compiles against heys-db', (t) => compile(folder(t, { pg: ROOT })))
})
