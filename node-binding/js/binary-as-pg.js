'use strict'

/**
 * Type parsers that see binary cells as node-postgres's do (`intactBinary: false`): decoded as UTF-8 on the way, which
 * replaces every byte that is none, and as strings in rows that are arrays.
 */
module.exports = function binaryAsPg(types, rowMode) {
  const source = types || require('pg-types')
  return {
    getTypeParser(oid, format) {
      const parser = source.getTypeParser(oid, format)
      if (format !== 'binary') return parser
      if (rowMode === 'array') return (cell) => parser(cell.toString())
      return (cell) => parser(Buffer.from(cell.toString()))
    },
  }
}
