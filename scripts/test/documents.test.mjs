// Documents: every link leads somewhere, every command either exists here, is run by a test, or says that it needs the
// cloud.

import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { blocks, documents } from '../lib/documents.mjs'
import { root } from '../lib/run.mjs'

const { scripts } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))

test('every link to a file leads to one', async () => {
  const files = await documents()
  assert.ok(files.includes('README.md'))
  for (const file of files) {
    const text = readFileSync(path.join(root, file), 'utf8').replace(/^```[\s\S]*?^```$/gm, '')
    for (const [, target] of text.matchAll(/\]\(([^)#]+)[^)]*\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      assert.ok(existsSync(path.join(root, path.dirname(file), target)), `${file}: ${target}`)
    }
  }
})

test('a block of commands without a mark holds only commands of this repository', async () => {
  for (const file of await documents()) {
    for (const { info, lines } of blocks(file)) {
      if (info !== 'sh') continue
      for (const line of lines) {
        const [program, verb, name] = line.split(/\s+/)
        const known =
          (program === 'npm' && (verb === 'test' || (verb === 'run' && Object.hasOwn(scripts, name)))) ||
          // Compiled and run as written by scripts/docs.
          (program === 'cc' && file === 'README.md') ||
          (program.includes('/') && existsSync(path.join(root, program)))
        assert.ok(known, `${file}: ${line}`)
      }
    }
  }
})

test('blocks of commands are marked with a mark that is known', async () => {
  for (const file of await documents()) {
    for (const { info } of blocks(file)) {
      if (info.startsWith('sh ')) assert.ok(['sh cloud', 'sh check'].includes(info), `${file}: ${info}`)
      assert.ok(!/^(bash|shell|console)/.test(info), `${file}: ${info}`)
    }
  }
})

test('the text of every document names no machine of ours', async () => {
  for (const file of await documents()) {
    assert.doesNotMatch(readFileSync(path.join(root, file), 'utf8'), /\/work\/|\/root\/|artifactory/, file)
  }
})
