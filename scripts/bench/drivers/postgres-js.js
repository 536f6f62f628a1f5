'use strict'

// postgres.js, by its tagged template, which prepares every text by itself, or by `sql.unsafe(text, values)`, which prepares
// none unless told to: the call that takes a text and its values, as every other driver's. What a template passes is an
// array with a `raw`; made here from the same text that the other drivers get.

exports.load = ({ module }) => require(module)

exports.open = (postgres, { unsafe }, { server, tls, max, prepare }) => {
  const { user: username, ...address } = server
  const sql = postgres({ ...address, username, max, prepare, ssl: tls ? { ca: tls.ca } : false })
  if (unsafe) {
    return {
      prepare: (text) => text,
      query: (text, values) => sql.unsafe(text, values),
      transaction: (work) => sql.begin((tx) => work((text, values) => tx.unsafe(text, values))),
    }
  }
  return {
    prepare(text) {
      const strings = text.split(/\$\d+/)
      return Object.assign(strings, { raw: strings })
    },
    query: (strings, values) => sql(strings, ...values),
    transaction: (work) => sql.begin((tx) => work((strings, values) => tx(strings, ...values))),
  }
}
