// The package's JavaScript, made by esbuild from node-binding/js: index.js has what every query needs, rest.js what few
// programs do and is loaded when one does. Inside them each module's body still runs at its first use.

import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { root } from './run.mjs'

/**
 * Modules, and packages, that go to rest.js. Parsing what does not run is a tenth of a cold start
 * (docs/decisions/0005-cold-start.md). With none here there would be one file.
 */
const REST = [
  './backup-handler',
  './binary-as-pg',
  './client-connection',
  './copy',
  './row-stream',
  './stream-driver',
  './submitted',
  'pg-protocol',
  'pgpass',
]

const SOURCES = path.join(root, 'node-binding/js')

/** index.js's own way in for lib/*.js and rest.js: name of a module → the very instance that index.js itself uses. */
const KEY = `Symbol.for('heys-db.part')`

/** esbuild's plugin: what node-binding/js requires by one of these names is not taken in, but is what `code(name)` says. */
function elsewhere(names, code) {
  return {
    name: 'elsewhere',
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /.*/, namespace: 'file' }, ({ path: name, importer }) =>
        names.includes(name) && path.dirname(importer) === SOURCES ? { path: name, namespace: 'elsewhere' } : undefined,
      )
      onLoad({ filter: /.*/, namespace: 'elsewhere' }, ({ path: name }) => ({
        contents: `module.exports = ${code(JSON.stringify(name))}`,
      }))
    },
  }
}

/** Licences of the packages that these files are from, as a comment. */
function licences(files) {
  const names = files.map((file) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[1])
  const texts = [...new Set(names)].filter(Boolean).map((name) => {
    const folder = path.join(root, 'node_modules', name)
    const { version, license } = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'))
    const text = ['LICENSE', 'LICENSE.md', 'LICENSE.txt'].map((file) => path.join(folder, file)).find(existsSync)
    return `${name} ${version}, ${license}\n\n${text ? readFileSync(text, 'utf8').trim() : ''}`
  })
  return texts.length === 0
    ? ''
    : `/*\nMade from these packages, too:\n\n${texts.join('\n\n---\n\n').replaceAll('*/', '* /')}\n*/\n`
}

/** Names stay as they are and lines short: they show in stacks and beside an uncaught error. */
async function write(outfile, contents, external, plugin) {
  const esbuild = await import('esbuild')
  const { metafile, outputFiles } = await esbuild.build({
    stdin: { contents, resolveDir: SOURCES, sourcefile: 'heys-db' },
    outfile,
    absWorkingDir: root,
    bundle: true,
    write: false,
    metafile: true,
    platform: 'node',
    target: 'node18',
    format: 'cjs',
    external: ['pg-types', external],
    plugins: [plugin],
    minifyWhitespace: true,
    lineLimit: 120,
    legalComments: 'none',
    logLevel: 'warning',
  })
  writeFileSync(outfile, licences(Object.keys(metafile.inputs)) + outputFiles[0].text)
}

/** Puts the two files into `<stage>/node-binding/js` and lets `<stage>/lib`, a copy of this repository's, use them. */
export async function bundle(stage) {
  const folder = path.join(stage, 'node-binding/js')
  const all = readdirSync(SOURCES)
    .filter((file) => file.endsWith('.js'))
    .map((file) => `./${file.slice(0, -3)}`)
  const unknown = REST.filter((name) => name.startsWith('./') && !all.includes(name))
  if (unknown.length > 0) throw new Error(`node-binding/js has no ${unknown.join(', ')} for rest.js`)
  const main = all.filter((name) => !REST.includes(name))
  const loaders = (names) => names.map((name) => `'${name}': () => require('${name}')`).join(', ')

  const index = `const parts = { ${loaders(main)} }
    module.exports = require('./index')
    Object.defineProperty(module.exports, ${KEY}, {
      value: (name) => (Object.hasOwn(parts, name) ? parts[name]() : require('./rest.js')(name)),
    })`
  const fromRest = elsewhere(REST, (name) => `require('./rest.js')(${name})`)
  await write(path.join(folder, 'index.js'), index, './rest.js', fromRest)

  const rest = `const parts = { ${loaders(REST)} }
    module.exports = (name) => parts[name]()`
  const fromIndex = elsewhere(main, (name) => `require('./index.js')[${KEY}](${name})`)
  await write(path.join(folder, 'rest.js'), rest, './index.js', fromIndex)

  // Node's lexer, which looks for names to import, would go through all of index.js; from this it learns of none.
  writeFileSync(
    path.join(folder, 'esm.js'),
    `'use strict'\n\nconst heys = require('./index.js')\nmodule.exports = heys\n`,
  )
  const entry = path.join(folder, 'index.mjs')
  writeFileSync(entry, readFileSync(entry, 'utf8').replace(`'./index.js'`, `'./esm.js'`))

  const part = (index, name) => `require('${index}')[${KEY}]('./${name}')`
  const handler = `'use strict'\n\nmodule.exports = ${part('./index.js', 'backup-handler')}\n`
  writeFileSync(path.join(folder, 'backup-handler.js'), handler)
  for (const file of readdirSync(path.join(stage, 'lib')).filter((name) => name.endsWith('.js'))) {
    const source = path.join(stage, 'lib', file)
    const text = readFileSync(source, 'utf8')
    const [whole, name] = /require\('\.\.\/node-binding\/js\/([\w-]+)'\)/.exec(text) ?? []
    if (name === undefined) throw new Error(`lib/${file} requires nothing of node-binding/js`)
    writeFileSync(source, text.replace(whole, part('../node-binding/js/index.js', name)))
  }
}
