'use strict'

// Bun's own SQL, in Bun, by its tagged template.

exports.load = () => require('bun').SQL

exports.open = (SQL, _driver, { server, tls, max, prepare }) => {
  const { host: hostname, user: username, ...address } = server
  const secured = tls ? { tls: { ca: tls.ca, rejectUnauthorized: true } } : { tls: false }
  const sql = new SQL({ adapter: 'postgres', ...address, hostname, username, max, prepare, ...secured })
  return {
    /** A template's strings: Bun asks for a `raw` that is not enumerable. */
    prepare(text) {
      const strings = text.split(/\$\d+/)
      return Object.freeze(Object.defineProperty(strings, 'raw', { value: Object.freeze([...strings]) }))
    },
    query: (strings, values) => sql(strings, ...values),
    transaction: (work) => sql.begin((tx) => work((strings, values) => tx(strings, ...values))),
  }
}
