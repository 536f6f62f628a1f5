// The same from an ES module.

import pg, { Client, Pool, DatabaseError, type PoolClient, type QueryResult } from 'pg'
import * as all from 'pg'

const { types, defaults } = pg

export async function run(pool: pg.Pool = new Pool({ max: 1 })): Promise<number> {
  const client: PoolClient = await pool.connect()
  const config: pg.QueryConfig = { text: 'SELECT 1 AS n' }
  const result: QueryResult<{ n: number }> = await client.query(config)
  const same: pg.QueryResult<{ n: number }> = result
  client.release()
  types.setTypeParser(20, Number)
  defaults.port = 5432
  const error: pg.DatabaseError | undefined = undefined
  const one: pg.Client = new Client()
  await new pg.Client().end()
  await new all.Client().end()
  return same.rows[0].n + (one.port ?? 0) + (error ? new DatabaseError('', 0, 'error').length : 0)
}
