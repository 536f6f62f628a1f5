'use strict'

const { pg } = require('./provider')
const { settings } = require('./server')

/** Runs `fn` with a connected client, and ends it. */
async function withClient(options, fn) {
  const client = new pg.Client({ ...(await settings()), ...options })
  await client.connect()
  try {
    return await fn(client)
  } finally {
    await client.end()
  }
}

/** Runs `fn` with a pool, and ends it. */
async function withPool(options, fn) {
  const pool = new pg.Pool({ ...(await settings()), ...options })
  try {
    return await fn(pool)
  } finally {
    if (!pool.ending) await pool.end()
  }
}

/** What `promise` rejects with. */
async function rejection(promise) {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error('resolved, and should have rejected')
}

/** Asks again until `check` gives something true; for what only the server can tell. */
async function eventually(check) {
  const until = Date.now() + 10000
  for (;;) {
    const answer = await check()
    if (answer) return answer
    if (Date.now() > until) throw new Error('it did not come to pass within 10 s')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

module.exports = { withClient, withPool, rejection, eventually }
