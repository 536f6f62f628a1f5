'use strict'

/** What a query resolves to. The methods serve libraries that fill a Result themselves. */
class Result {
  constructor(rowMode, types) {
    this.command = null
    this.rowCount = null
    this.oid = null
    this.rows = []
    this.fields = []
    this._parsers = undefined
    this._types = types
    this.RowCtor = null
    this.rowAsArray = rowMode === 'array'
    if (this.rowAsArray) this.parseRow = this._parseRowAsArray
    this._prebuiltEmptyResultObject = null
  }

  /** A tag: `SELECT 3`, `INSERT 0 1` (an oid before the count), `CREATE TABLE` (its first word is the command). */
  addCommandComplete(message) {
    const tag = /^([A-Za-z]+)(?: (\d+))?(?: (\d+))?/.exec(message.text || message.command)
    if (tag === null) return
    this.command = tag[1]
    if (tag[3]) {
      this.oid = parseInt(tag[2], 10)
      this.rowCount = parseInt(tag[3], 10)
    } else if (tag[2]) this.rowCount = parseInt(tag[2], 10)
  }

  addFields(fields) {
    const source = this._types || require('pg-types')
    this.fields = fields
    if (fields.length) this._parsers = []
    const empty = Object.create(null)
    fields.forEach((field, i) => {
      empty[field.name] = null
      this._parsers[i] = source.getTypeParser(field.dataTypeID, field.format || 'text')
    })
    this._prebuiltEmptyResultObject = { ...empty }
  }

  _parseRowAsArray(cells) {
    return cells.map((cell, i) => (cell === null ? null : this._parsers[i](cell)))
  }

  parseRow(cells) {
    const row = { ...this._prebuiltEmptyResultObject }
    for (let i = 0; i < cells.length; i++) {
      const { name, format } = this.fields[i]
      const cell = cells[i] !== null && format === 'binary' ? Buffer.from(cells[i]) : cells[i]
      row[name] = cell === null ? null : this._parsers[i](cell)
    }
    return row
  }

  addRow(row) {
    this.rows.push(row)
  }
}

module.exports = Result
