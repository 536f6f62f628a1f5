// Compiled, not run: what programs write must have these types. Each error that is expected must be one.

import heysDefault, * as heys from 'heys-db'
import { handler } from 'heys-db/backup-handler'
import type { BackupReport, PoolClient, QueryResult } from 'heys-db'

interface User {
  id: number
  name: string | null
}

export async function queries(pool: heys.Pool, client: PoolClient): Promise<string[]> {
  const { rows, rowCount } = await pool.query<User>('SELECT id, name FROM users WHERE id = $1', [1])
  const id: number = rows[0].id
  // @ts-expect-error: there is no such column
  rows[0].nickname
  // @ts-expect-error: COPY and DDL have none
  const always: number = rowCount
  const arrays = await client.query<[number, string]>({ text: 'SELECT 1, 2', rowMode: 'array' })
  const second: string = arrays.rows[0][1]
  client.query('SELECT 1', (error: Error, result: QueryResult) => result.rows.length)
  client.query('SELECT $1', [id], (error, result) => result.fields[0].dataTypeID.toFixed())
  const query = client.query(new heys.Query<User>('SELECT 1'))
  query.on('row', (row) => row.id.toFixed())
  pool.on('error', (error, lost) => `${error.message} ${lost.processID}`)
  client.on('notification', ({ channel, payload }) => `${channel} ${payload}`)
  client.release(new Error('broken'))
  return [second]
}

export async function shared(): Promise<number> {
  const one: number = await heys.withClient(async (client) => (await client.query('SELECT 1 AS a')).rows[0].a)
  await heys.withTransaction((client) => client.query('SELECT 1'), { isolation: 'serializable', retries: 3 })
  // @ts-expect-error: it needs a limit
  heys.withAdmission(async () => ({ statusCode: 200 }), {})
  const admitted = heys.withAdmission(async (event: { body: string }) => ({ statusCode: 200, body: event.body }), {
    limit: 2,
  })
  await admitted({ body: '' })
  const { healthy, reason, metrics } = heys.getPoolHealthCheck()
  await heys.closePool()
  return healthy ? one : (reason ?? '').length + metrics.waitMs.max + heysDefault.getAllPools().length
}

export function errors(error: unknown): string | undefined {
  if (error instanceof heys.DatabaseError) return error.code
  heys.types.setTypeParser(heys.types.builtins.INT8, Number)
  heys.defaults.parseInt8 = true
  return heys.escapeIdentifier('a') + heys.utils.escapeLiteral('b')
}

export async function backup(): Promise<BackupReport> {
  await handler({}, { getRemainingTimeInMillis: () => 1000 })
  // @ts-expect-error: no such option
  heys.runBackup({ bucket: 'x' })
  return heys.runBackup({
    s3Bucket: 'mine',
    backupMinKeep: 5,
    signal: AbortSignal.timeout(1000),
    onProgress(event) {
      if (event.type === 'dumping') event.uploadedBytes.toFixed()
      // @ts-expect-error: only dumping has it
      else event.uploadedBytes
    },
  })
}

export async function streams(client: heys.Client) {
  for await (const row of client.stream<{ n: number }>('SELECT 1 AS n', [])) row.n.toFixed()
  client.copyTo('COPY t TO STDOUT').pipe(client.copyFrom('COPY t FROM STDIN'))
  const submittable = { submit(_connection: unknown) {}, mine: true }
  const same: boolean = client.query(submittable).mine
  return same
}
