// npm run test:big: a database of 1 GB, its backup in one process, and what that process took in memory and on disk.

import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statfsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { cpus, tmpdir } from 'node:os'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { must, root, run } from '../lib/run.mjs'
import { note, size } from '../lib/say.mjs'

const require = createRequire(import.meta.url)
const { startSandbox } = require('../../sandbox/client')

const GIGABYTE = 2 ** 30
/** The database, its backup in the store, and a copy of that for the checks. */
const DISK = 3 * GIGABYTE
/** The promise: the peak of the process that makes the backup, its gzip included. */
const MEMORY = 150e6

/** The kernel also counts the blocks in which it notes when a file was last read. */
const ACCESS_TIMES = 64 * 1024

/** About 330 bytes a row as pg_dump writes it, with as much repetition as an application's rows have. */
const DATA = `
  CREATE UNLOGGED TABLE entries AS SELECT n AS id, md5('client ' || n % 5000)::uuid AS client_id,
    TIMESTAMPTZ '2025-01-01' + n * INTERVAL '7 seconds' AS at,
    (ARRAY['breakfast', 'lunch', 'dinner', 'training', 'note'])[1 + n % 5] AS kind, (n % 3001) / 10.0 AS amount,
    jsonb_build_object('source', 'app', 'version', n % 40, 'device', md5(n::text), 'done', n % 3 = 0,
      'items', jsonb_build_array(n % 611, n % 97, n % 13)) AS payload,
    'entry ' || n || ' of the day, ' || md5((n * 31)::text) || ', kept as it was written, with all that belongs to it' AS text
  FROM generate_series(1, 3400000) AS n`

let sandbox
let folder

before(async () => {
  const { bavail, bsize } = statfsSync(tmpdir())
  const free = bavail * bsize
  assert.ok(
    free >= DISK,
    `${tmpdir()} has ${size(free)} left, and this test needs ${size(DISK)}: free some, or set TMPDIR to a folder with room`,
  )
  folder = mkdtempSync(path.join(tmpdir(), 'heys-big-'))
  sandbox = await startSandbox({ postgres: true, s3: { tls: true } })
  await sandbox.pg.sql({ sql: `${DATA}; GRANT SELECT ON entries TO ${sandbox.pg.user}` })
})

after(async () => {
  await sandbox?.stop()
  if (folder) rmSync(folder, { recursive: true, force: true })
})

/**
 * A folder that nobody should touch, and the means: no file may grow past 512 blocks (half a MB at most), whoever runs it.
 * The little that is left is for the CA certificates, which pg_dump gets as a file in memory.
 */
function withoutDisk() {
  const untouched = path.join(folder, 'untouched')
  mkdirSync(untouched, { recursive: true })
  const launch = (program, args, env = {}) => {
    const all = { PATH: process.env.PATH, HOME: untouched, TMPDIR: untouched, ...env }
    const line = ['-i', ...Object.entries(all).map(([name, value]) => `${name}=${value}`), program, ...args]
    return run('/bin/sh', ['-c', 'ulimit -f 512 && exec env "$@"', 'sh', ...line], { print: false, cwd: untouched })
  }
  return { untouched, launch }
}

/** Words of PostgreSQL's own programs, as the superuser. */
function postgresEnv() {
  const { host, port, database, caPath, binDir, roles } = sandbox.pg
  return {
    PATH: `${binDir}:${process.env.PATH}`,
    PGHOST: host,
    PGPORT: String(port),
    PGDATABASE: database,
    PGUSER: roles.superuser.user,
    PGPASSWORD: roles.superuser.password,
    PGSSLMODE: 'verify-full',
    PGSSLROOTCERT: caPath,
    // COPY then begins at the table's first page, as pg_dump's does.
    PGOPTIONS: '-c synchronize_seqscans=off',
  }
}

/** The last word or words that a pipeline of programs prints; any of them failing is an error. */
async function shell(line, ...args) {
  const output = await must('bash', ['-euo', 'pipefail', '-c', line, 'bash', ...args], {
    print: false,
    env: postgresEnv(),
  })
  return output.trim()
}

let done

test('the means against disk writes work: a program that writes 1 MB fails', async () => {
  const { untouched, launch } = withoutDisk()
  const { code } = await launch('/bin/sh', ['-c', 'head -c 1000000 /dev/zero > file'])
  assert.notEqual(code, 0)
  rmSync(path.join(untouched, 'file'), { force: true })
})

test('a backup of 1 GB stays under 150 MB of memory and writes nothing to disk', async () => {
  const { untouched, launch } = withoutDisk()
  const child = path.join(root, 'scripts/big/run-backup.js')
  const { code, output } = await launch(process.execPath, [child], sandbox.env())
  assert.equal(code, 0, output)
  done = JSON.parse(output.trim().split('\n').at(-1))
  const { report, peakBytes, writtenBytes } = done
  const seconds = report.durationMs / 1000
  note(
    `${cpus().length} cores, Node ${process.version}, PostgreSQL ${report.serverVersion ?? ''}, everything on one machine`,
  )
  note(`database: ${(await shell('psql -XAtc "SELECT pg_database_size(current_database())"')) / 1e6} MB`)
  note(`dump: ${report.rawBytes / 1e6} MB, stored: ${report.bytes / 1e6} MB in ${report.parts} parts`)
  note(`time: ${seconds.toFixed(1)} s, ${(report.rawBytes / 1e6 / seconds).toFixed(1)} MB/s of the dump`)
  note(`peak memory: ${(peakBytes / 1e6).toFixed(1)} MB; written to disk: ${writtenBytes} bytes`)
  assert.ok(report.rawBytes >= GIGABYTE, `the dump is only ${size(report.rawBytes)}`)
  assert.ok(peakBytes < MEMORY, `VmHWM is ${size(peakBytes)}`)
  assert.ok(writtenBytes <= ACCESS_TIMES, `${writtenBytes} bytes were written`)
  assert.deepEqual(readdirSync(untouched), [])
  assert.deepEqual(report.warnings, [])
})

test('the object holds the whole dump', async () => {
  const { report } = done
  const objects = await sandbox.s3.objects()
  assert.deepEqual(
    objects.map(({ key, size: bytes }) => [key, bytes]),
    [[report.key, report.bytes]],
  )
  assert.deepEqual(await sandbox.s3.uploads(), [])
  const file = path.join(folder, 'backup.dump.gz')
  await sandbox.s3.saveObject({ key: report.key, path: file })
  assert.equal((await shell('sha256sum < "$1"', file)).split(' ')[0], report.sha256)
  assert.equal(Number(await shell('gunzip -c "$1" | wc -c', file)), report.rawBytes)
  assert.match(await shell('gunzip -c "$1" | { pg_restore -l; cat > /dev/null; }', file), /TABLE DATA public entries/)

  const rows = `sed -n '/^COPY public.entries /,/^\\\\\\.$/p' | sed '1d;$d' | sha256sum`
  const [restored, original] = await Promise.all([
    shell(`gunzip -c "$1" | pg_restore -f - --data-only --table=entries | ${rows}`, file),
    shell('psql -Xc "COPY entries TO STDOUT" | sha256sum'),
  ])
  assert.equal(restored, original)
})

test('it is at most 5 % larger than what pg_dump -Fc itself makes', async () => {
  const start = performance.now()
  const plain = Number(await shell('pg_dump -Fc | wc -c'))
  const seconds = (performance.now() - start) / 1000
  note(`pg_dump -Fc: ${plain / 1e6} MB in ${seconds.toFixed(1)} s`)
  assert.ok(done.report.bytes <= plain * 1.05, `${done.report.bytes} against ${plain}`)
})
