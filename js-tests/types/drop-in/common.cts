// The same from a CommonJS module.

import pg = require('pg')

export async function run(): Promise<number> {
  const pool: pg.Pool = new pg.Pool({ connectionString: 'postgres://h/d' })
  const { rows }: pg.QueryResult<{ n: number }> = await pool.query<{ n: number }>('SELECT 1 AS n')
  const clients: pg.ClientBase[] = [new pg.Client(), await pool.connect()]
  return rows[0].n + clients.length
}
