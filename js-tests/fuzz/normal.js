'use strict'

/** What a program can see of a value, as text in which server pids and oids of tables do not matter. */

class Normal {
  constructor() {
    this.oids = new Map()
    this.pids = new Map()
  }

  number(map, word, value) {
    if (!map.has(value)) map.set(value, `${word}#${map.size + 1}`)
    return map.get(value)
  }

  text(text) {
    return text.replace(/pg_temp_\d+/g, 'pg_temp').replace(/pg_toast_temp_\d+/g, 'pg_toast_temp')
  }

  pid(pid) {
    return typeof pid === 'number' ? this.number(this.pids, 'pid', pid) : String(pid)
  }

  show(value, depth = 6) {
    switch (typeof value) {
      case 'string':
        return JSON.stringify(this.text(value.length > 300 ? `${value.slice(0, 300)}…${value.length}` : value))
      case 'number':
        return Object.is(value, -0) ? '-0' : String(value)
      case 'bigint':
        return `${value}n`
      case 'function':
        return `[function ${value.name}]`
      case 'object':
        return value === null ? 'null' : this.object(value, depth)
      default:
        return String(value)
    }
  }

  object(value, depth) {
    if (depth === 0) return '…'
    if (value instanceof Error) return this.error(value, depth)
    if (Buffer.isBuffer(value)) return `Buffer ${value.length} ${value.toString('hex').slice(0, 200)}`
    if (value instanceof Date) return `Date ${Number.isNaN(value.getTime()) ? 'invalid' : value.toISOString()}`
    const type = Object.getPrototypeOf(value) === null ? 'null' : value.constructor && value.constructor.name
    if (Array.isArray(value)) {
      const shown = value.length > 60 ? [...value.slice(0, 30), ...value.slice(-30)] : value
      return `${value.length}[${shown.map((one) => this.show(one, depth - 1)).join(', ')}]`
    }
    const keys = Object.keys(value).filter((key) => !key.startsWith('_') && key !== 'RowCtor')
    return `${type === 'Object' ? '' : type}{${keys.map((key) => this.property(key, value[key], depth)).join(', ')}}`
  }

  property(key, value, depth) {
    const isOid = key === 'tableID' || key === 'dataTypeID'
    if (isOid && value >= 16384) return `${key}: ${this.number(this.oids, 'oid', value)}`
    if (key === 'processId') return `${key}: ${this.pid(value)}`
    return `${JSON.stringify(key)}: ${this.show(value, depth - 1)}`
  }

  error(error, depth) {
    const keys = Object.getOwnPropertyNames(error).filter((key) => key !== 'stack' && key !== 'client')
    // The length counts the digits of pg_temp_N.
    const masked = keys.some((key) => /pg_temp_|pg_toast/.test(String(error[key])))
    const shown = keys.map((key) => (key === 'length' && masked ? 'length: …' : this.property(key, error[key], depth)))
    return `${error.constructor.name}<${Object.prototype.toString.call(error)}>{${shown.join(', ')}}`
  }
}

module.exports = { Normal }
