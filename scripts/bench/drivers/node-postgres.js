'use strict'

// node-postgres's API: pg, pg with named statements, pg-native and heys-db. One-shots go through pool.query().

exports.load = ({ module, native }) => (native ? require(module).native : require(module))

/** libpq takes its own words, and would take TLS wherever the server offers it. */
function ssl({ native }, tls) {
  if (native) return tls ? { sslmode: 'verify-full', sslrootcert: tls.caPath } : { sslmode: 'disable' }
  return tls ? { ca: tls.ca } : false
}

exports.open = ({ Pool }, driver, { server, tls, max }) => {
  const pool = new Pool({ ...server, max, ssl: ssl(driver, tls), ...driver.options })
  let statements = 0
  const on = (runner) =>
    driver.named
      ? async ({ name, text }, values) => (await runner.query({ name, text, values })).rows
      : async ({ text }, values) => (await runner.query(text, values)).rows

  return {
    prepare: (text) => ({ text, name: `bench_${statements++}` }),
    query: on(pool),
    async transaction(work) {
      const client = await pool.connect()
      try {
        await client.query('BEGIN')
        const result = await work(on(client))
        await client.query('COMMIT')
        return result
      } finally {
        client.release()
      }
    },
  }
}
