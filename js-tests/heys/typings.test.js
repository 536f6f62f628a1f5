'use strict'

const assert = require('node:assert/strict')
const { readFileSync } = require('node:fs')
const path = require('node:path')
const { it } = require('node:test')
const heys = require('../..')

// js-tests/types/usage.ts says whether the types are right; here it is whether they are of what there is.
it('index.d.ts declares the values that the module exports, and no others', () => {
  const text = readFileSync(path.join(__dirname, '../../node-binding/index.d.ts'), 'utf8')
  const declared = [...text.matchAll(/^export (?:class|const|function|import) (\w+)/gm)].map(([, name]) => name)
  assert.deepEqual([...new Set(declared)].sort(), Object.getOwnPropertyNames(heys).sort())
})
