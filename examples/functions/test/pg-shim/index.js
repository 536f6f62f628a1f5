'use strict'

/**
 * What the example functions use of heys-db, on plain `pg`. The functions' tests run on both, which shows that they
 * ask for nothing but node-postgres and the one admission guard.
 */

const fs = require('fs')
const { Pool } = require('pg')

let shared

function getPool() {
  const env = process.env
  shared ??= new Pool({
    host: env.PG_HOST,
    port: Number(env.PG_PORT),
    database: env.PG_DATABASE,
    user: env.PG_USER,
    password: env.PG_PASSWORD,
    ssl: env.PG_SSLROOTCERT ? { ca: fs.readFileSync(env.PG_SSLROOTCERT, 'utf8') } : false,
    max: Number(env.POOL_MAX_SIZE || 3),
    connectionTimeoutMillis: Number(env.POOL_CONNECT_TIMEOUT || 5000),
    allowExitOnIdle: true,
  })
  return shared
}

async function closePool() {
  const ended = shared
  shared = undefined
  await ended?.end()
}

function withAdmission(handler, { limit }) {
  let free = limit
  const queue = []
  return async (...args) => {
    if (free > 0) free--
    else await new Promise((resolve) => queue.push(resolve))
    try {
      return await handler(...args)
    } finally {
      if (queue.length > 0) queue.shift()()
      else free++
    }
  }
}

module.exports = { getPool, closePool, withAdmission }
