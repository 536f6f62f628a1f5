// deny.toml's licences, bans and sources, checked against the whole dependency tree; the npm lockfile likewise.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { before, test } from 'node:test'
import { must, root } from '../lib/run.mjs'

const deny = readFileSync(path.join(root, 'deny.toml'), 'utf8')
const list = (text) => [...text.matchAll(/"([^"]+)"/g)].map((match) => match[1])
const allowed = new Set(list(/^\[licenses\][\s\S]*?^allow = \[([\s\S]*?)\]/m.exec(deny)[1]))
const exceptions = [...deny.matchAll(/crate = "([^"]+)", allow = (\[.*?\])/g)]
const excepted = new Map(exceptions.map(([, name, licences]) => [name, list(licences)]))
const banned = new Set(list(/^deny = \[([\s\S]*?)^\]/m.exec(deny)[1]))
const registry = list(/^allow-registry = (.*)$/m.exec(deny)[1])[0]

/** Whether an SPDX expression can be met with allowed licences, or `more`; `/` is the old spelling of OR. */
function acceptable(expression, more = []) {
  const tokens = expression
    .replaceAll('/', ' OR ')
    .replaceAll(' WITH ', '~WITH~')
    .match(/[()]|[^\s()]+/g)
  let at = 0
  const any = () => {
    let result = all()
    while (tokens[at] === 'OR') {
      at++
      result = all() || result
    }
    return result
  }
  const all = () => {
    let result = one()
    while (tokens[at] === 'AND') {
      at++
      result = one() && result
    }
    return result
  }
  const one = () => {
    const token = tokens[at++]
    const licence = token.replaceAll('~', ' ')
    if (token !== '(') return allowed.has(licence) || more.includes(licence)
    const result = any()
    at++
    return result
  }
  return any()
}

let crates

before(async () => {
  const metadata = ['metadata', '--format-version', '1', '--locked', '--offline']
  crates = JSON.parse(await must('cargo', metadata, { print: false })).packages
})

test('every crate can be had under an allowed licence', () => {
  assert.ok(crates.length > 100)
  const refused = crates.filter(({ name, license }) => !license || !acceptable(license, excepted.get(name)))
  assert.deepEqual(
    refused.map(({ name, license }) => `${name}: ${license}`),
    [],
  )
})

test('no banned crate is in the tree', () => {
  assert.ok(banned.has('rustls'))
  assert.deepEqual(
    crates.map(({ name }) => name).filter((name) => banned.has(name)),
    [],
  )
})

test('every crate comes from the one registry or from here', () => {
  const sources = new Set(crates.map(({ source }) => source))
  assert.deepEqual([...sources].sort(), [`registry+${registry}`, null].sort())
})

test('every npm package has an allowed licence, and the lockfile names no host', () => {
  const lock = readFileSync(path.join(root, 'package-lock.json'), 'utf8')
  const { packages } = JSON.parse(lock)
  // Of development only: the BSD-2-Clause, BlueOak and Python-2.0 families are as free.
  const development = new Set(['BSD-2-Clause', 'BlueOak-1.0.0', 'Python-2.0', 'CC0-1.0', '0BSD'])
  const refused = Object.entries(packages)
    .filter(([name]) => name !== '')
    .filter(([, { license, dev }]) => !(acceptable(license) || (dev && development.has(license))))
  assert.deepEqual(
    refused.map(([name, { license }]) => `${name}: ${license}`),
    [],
  )
  assert.doesNotMatch(lock, /"resolved"/)
})

test('expressions are read as SPDX means them', () => {
  assert.equal(acceptable('(MIT OR Apache-2.0) AND Unicode-3.0'), true)
  assert.equal(acceptable('MIT AND GPL-3.0'), false)
  assert.equal(acceptable('GPL-3.0 OR MIT'), true)
  assert.equal(acceptable('Apache-2.0 WITH LLVM-exception'), true)
  assert.equal(acceptable('Apache-2.0 WITH Made-up-exception'), false)
  assert.equal(acceptable('Apache-2.0 / MIT'), true)
  assert.equal(acceptable('GPL-2.0 WITH Classpath-exception-2.0'), false)
})
