// Fails on an arrow between rooms that docs/architecture.md does not name.

import assert from 'node:assert/strict'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { root } from '../lib/run.mjs'

/** The lines of the `arrows` block, as `from -> to`. */
function named(markdown) {
  const block = /^```arrows\n([\s\S]*?)^```$/m.exec(markdown)
  assert.ok(block, 'docs/architecture.md has a block of arrows')
  return new Set(block[1].trim().split('\n'))
}

/** Rust without comments, strings and characters. */
function bare(source) {
  return source.replace(
    /\/\/[^\n]*|\/\*[\s\S]*?\*\/|'(?:\\[^']+|[^'\\])'|r(#*)"[\s\S]*?"\1|"(?:\\[\s\S]|[^"\\])*"/g,
    '',
  )
}

/** What a file names below its crate's root: `crate::a::…`, and every branch of `use crate::{…}`. */
function namesBelowCrate(source) {
  const names = new Set()
  for (const [, name] of source.matchAll(/\bcrate::(\w+)/g)) names.add(name)
  for (const group of source.matchAll(/\bcrate::\{/g)) {
    let depth = 1
    let branch = ''
    for (let i = group.index + group[0].length; depth > 0; i++) {
      const char = source[i]
      if (char === '{') depth++
      if (char === '}') depth--
      if (depth === 1 && char !== '}') branch += char
    }
    for (const part of branch.split(',')) names.add(/\w*/.exec(part.trim())[0])
  }
  names.delete('')
  return names
}

function rustFiles(folder) {
  return readdirSync(folder, { recursive: true })
    .filter((file) => file.endsWith('.rs'))
    .map((file) => ({ file, source: bare(readFileSync(path.join(folder, file), 'utf8')) }))
}

/** Arrows between the rooms of core, each with the first file that draws it. What lib.rs re-exports is error's. */
function coreArrows(files) {
  const arrows = new Map()
  for (const { file, source } of files) {
    const from = file.split(path.sep)[0].replace(/\.rs$/, '')
    if (from === 'lib') continue
    for (const name of namesBelowCrate(source)) {
      const to = /^[A-Z]/.test(name) ? 'error' : name
      if (to !== from) arrows.set(`core/${from} -> core/${to}`, file)
    }
  }
  return arrows
}

const allowed = named(readFileSync(path.join(root, 'docs/architecture.md'), 'utf8'))

test('core draws only the arrows that docs/architecture.md names', () => {
  const arrows = coreArrows(rustFiles(path.join(root, 'core/src')))
  assert.ok(arrows.size > 5, 'arrows are found at all')
  const unnamed = [...arrows].filter(([arrow]) => !allowed.has(arrow)).map(([arrow, file]) => `${arrow}  (${file})`)
  assert.deepEqual(unnamed, [])
})

test('node-binding and capi use core and never each other', () => {
  const crates = {
    core: 'heys-core',
    'node-binding': 'heys-node',
    capi: 'heys',
    sandbox: 'heys-sandbox',
    guards: 'heys-guards',
  }
  for (const from of Object.keys(crates)) {
    const manifest = readFileSync(path.join(root, from, 'Cargo.toml'), 'utf8')
    // Tests of core may start the sandbox: dev-dependencies are no arrows.
    const dependencies = /^\[dependencies\]\n([\s\S]*?)(^\[|$(?![\s\S]))/m.exec(manifest)[1]
    for (const [to, name] of Object.entries(crates)) {
      const depends = new RegExp(`^${name}(\\.workspace)?\\s*=`, 'm').test(dependencies)
      if (from !== to && depends) assert.ok(allowed.has(`${from} -> ${to}`), `${from} -> ${to}`)
    }
    for (const { file, source } of rustFiles(path.join(root, from, 'src'))) {
      for (const [to, name] of Object.entries(crates)) {
        if (from === to || !new RegExp(`\\b${name.replace('-', '_')}::`).test(source)) continue
        assert.ok(allowed.has(`${from} -> ${to}`), `${from} -> ${to} (${file})`)
      }
    }
  }
})

test('guards compiles the rooms of core that docs/architecture.md names', () => {
  const main = readFileSync(path.join(root, 'guards/src/main.rs'), 'utf8')
  const rooms = [...main.matchAll(/^#\[path = "\.\.\/\.\.\/core\/src\/(\w+)/gm)].map(
    ([, room]) => `guards -> core/${room}`,
  )
  const drawn = [...allowed].filter((arrow) => arrow.startsWith('guards -> '))
  assert.deepEqual(rooms.sort(), drawn.sort())
})

test('core forbids unsafe code', () => {
  assert.match(readFileSync(path.join(root, 'core/src/lib.rs'), 'utf8'), /#!\[forbid\(unsafe_code\)\]/)
})

test('every room that architecture.md names is there', () => {
  for (const arrow of allowed) {
    for (const room of arrow.split(' -> ')) {
      const [crate, inner] = room.split('/')
      const places = inner ? [`${crate}/src/${inner}`, `${crate}/src/${inner}.rs`] : [crate]
      assert.ok(
        places.some((place) => existsSync(path.join(root, place))),
        room,
      )
    }
  }
})

test('a group of use lines, a path and a comment are read as Rust reads them', () => {
  const source = bare(
    'use crate::{Error, net::{tls::Tls, cancel}, proto}; // crate::no\nlet a = crate::pool::new("crate::x");',
  )
  assert.deepEqual([...namesBelowCrate(source)].sort(), ['Error', 'net', 'pool', 'proto'])
  const arrows = coreArrows([{ file: 'proto/wire.rs', source }])
  assert.ok(arrows.has('core/proto -> core/net'))
})
