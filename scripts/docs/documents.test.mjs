// Runs what the documents show: every block of JavaScript, and the restore of heys-backup step by step.

import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { blocks } from '../lib/documents.mjs'
import { root, run } from '../lib/run.mjs'

const require = createRequire(import.meta.url)
const { start } = require('../../examples/functions/test/database')

let database
let folder

before(async () => {
  database = await start({ s3: true, telegram: true })
  folder = mkdtempSync(path.join(tmpdir(), 'heys-docs-'))
  mkdirSync(path.join(folder, 'node_modules'))
  symlinkSync(root, path.join(folder, 'node_modules/heys-db'))
})

after(async () => {
  rmSync(folder, { recursive: true, force: true })
  await database.stop()
})

/** Runs a program in the folder of an application that has installed heys-db. */
async function runs(program, args, env = {}) {
  const { code, output } = await run(program, args, { print: false, cwd: folder, env: { ...database.env, ...env } })
  assert.equal(code, 0, output)
  return output
}

for (const file of ['README.md', 'docs/pool-tuning.md', 'docs/differences-from-pg.md']) {
  const scripts = blocks(file).filter(({ info }) => info === 'js')
  scripts.forEach(({ code }, i) => {
    test(`${file}, JavaScript ${i + 1} of ${scripts.length} runs and ends by itself`, async () => {
      writeFileSync(path.join(folder, 'example.js'), code)
      const output = await runs(process.execPath, ['example.js'])
      const says = {
        getPoolMetrics: /longestWait: \d/,
        runBackup: /heys-backups .*\.dump\.gz \d+ [0-9a-f]{64}/,
        answer: /42/,
      }
      for (const [word, wanted] of Object.entries(says)) if (code.includes(word)) assert.match(output, wanted)
    })
  })
}

test('README, the cc lines compile as they stand', async () => {
  const lines = blocks('README.md').flatMap((block) => block.lines.filter((line) => line.startsWith('cc ')))
  assert.equal(lines.length, 2)
  for (const line of lines) {
    const { code, output } = await run('sh', ['-c', line], { print: false })
    assert.equal(code, 0, `${line}\n${output}`)
    const program = /-o (\S+)/.exec(line)[1]
    assert.ok(existsSync(path.join(root, program)))
  }
})

test('heys-backup, restore step by step', async () => {
  const { runBackup } = require('../..')
  const report = await runBackup({ env: database.env })
  writeFileSync(path.join(folder, 'backup.dump.gz'), await database.sandbox.s3.getObject({ key: report.key }))
  const { host, port, binDir, caPath, roles } = database.sandbox.pg
  const steps = blocks('examples/functions/heys-backup/README.md').filter(({ info }) => info === 'sh check')
  assert.ok(steps.length >= 5)
  const env = {
    PATH: `${binDir}:${process.env.PATH}`,
    PGHOST: host,
    PGPORT: String(port),
    PGUSER: roles.superuser.user,
    PGPASSWORD: roles.superuser.password,
    PGSSLMODE: 'verify-full',
    PGSSLROOTCERT: caPath,
  }
  const output = await runs('sh', ['-euc', steps.map(({ lines }) => lines.join('\n')).join('\n')], env)
  assert.ok(output.includes(report.sha256))
  assert.match(output, /\b2\b[\s\S]*\(1 row\)/)
})
