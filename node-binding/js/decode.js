'use strict'

const types = require('./types')
const numbers = require('./numbers')
const { AS_TEXT, AS_INT, AS_BOOL, AS_FLOAT, AS_INSTANT, AS_PARSER, CONVERT, READ } = types

/**
 * Packed batches → rows. A decoder belongs to a shape (the columns of a RowDescription), a row mode and the parsers in
 * force. It is interpreted at first and compiled when it turns out to be used; where the runtime forbids code
 * generation it stays interpreted.
 */

const INT_NULL = -2147483648
const KIND_INT = 1
const KIND_BOOL = 2
const KIND_BYTES = 3
/** Of two words each. */
const KIND_FLOAT8 = 4
const KIND_TIMESTAMPTZ = 5
/** A result of at least this many rows is worth compiling for at once; a smaller one at its decoder's second use. */
const ROWS_WORTH_COMPILING = 8

let mayGenerate = true

/** A column of a RowDescription. */
class Field {
  constructor(raw) {
    this.name = raw.name
    this.tableID = raw.tableID
    this.columnID = raw.columnID
    this.dataTypeID = raw.dataTypeID
    this.dataTypeSize = raw.dataTypeSize
    this.dataTypeModifier = raw.dataTypeModifier
    // To the caller, what comes as a number came as text.
    this.format = raw.format === 'number' ? 'text' : raw.format
  }
}

class Shape {
  constructor(raw) {
    const fields = raw.map((field) => new Field(field))
    this.fields = fields
    this.count = fields.length
    this.kinds = raw.map((field) => types.kindOf(field.dataTypeID, field.format))
    /** Words of a row. */
    this.width = this.count + this.kinds.filter((kind) => kind >= KIND_FLOAT8).length
    this.objects = null
    this.arrays = null
    // Names in order of first appearance; of several columns with one name the last one's value stays.
    const last = new Map()
    fields.forEach((field, i) => last.set(field.name, i))
    this.names = [...last.keys()]
    this.sources = [...last.values()]
  }

  /**
   * The decoder for this row mode and source of type parsers (`undefined`: pg-types's global ones). Asks the source
   * once per column and result, so that a parser set between two queries counts.
   */
  decoder(asArray, source) {
    const known = asArray ? this.arrays : this.objects
    if (source === undefined) {
      if (!types.isLoaded()) {
        if (known !== null && known.parsers === null) return known
        const conversions = this.builtin()
        if (conversions !== null) return this.keep(asArray, new Decoder(this, asArray, null, conversions))
      }
      source = types.pgTypes()
    }
    const parsers = this.parsersFrom(source, known)
    if (parsers === null && known !== null) return known
    const conversions = (parsers || []).map((parser, i) => {
      const { dataTypeID, format } = this.fields[i]
      return format === 'binary' ? AS_PARSER : types.conversionOf(dataTypeID, parser)
    })
    return this.keep(asArray, new Decoder(this, asArray, parsers || [], conversions))
  }

  keep(asArray, decoder) {
    if (asArray) this.arrays = decoder
    else this.objects = decoder
    return decoder
  }

  /** Conversions without pg-types, or null when a column needs it. */
  builtin() {
    const out = new Array(this.count)
    for (let i = 0; i < this.count; i++) {
      const field = this.fields[i]
      out[i] = field.format === 'binary' ? -1 : types.builtinConversion(field.dataTypeID)
      if (out[i] === -1) return null
    }
    return out
  }

  /** The source's parsers, or null when they are those of `known`. */
  parsersFrom(source, known) {
    const before = known === null ? null : known.parsers
    let parsers = null
    for (let i = 0; i < this.count; i++) {
      const field = this.fields[i]
      const parser = source.getTypeParser(field.dataTypeID, field.format)
      if (parsers !== null) parsers[i] = parser
      else if (before === null || before[i] !== parser) {
        parsers = before === null ? new Array(this.count) : before.slice()
        parsers[i] = parser
      }
    }
    return parsers
  }
}

class Decoder {
  constructor(shape, asArray, parsers, conversions) {
    this.shape = shape
    this.asArray = asArray
    this.parsers = parsers
    this.conversions = conversions
    /** Whether rows pass through code that is not ours, which may call back into the library. */
    this.foreign = conversions.includes(AS_PARSER)
    this.uses = 0
    this.packed = null
    this.texts = null
  }

  /** Appends `rows` rows to `out`. Cells begin at `words[at]`; `hold`: they are packed as their columns' kinds. */
  decode(words, at, rows, hold, text, out) {
    let compiled = hold ? this.packed : this.texts
    if (compiled === null) {
      if (mayGenerate && (this.uses++ > 0 || rows >= ROWS_WORTH_COMPILING)) compiled = this.compile(hold)
      if (compiled === null) return interpret(this, words, at, rows, hold, text, out)
    }
    compiled(words, at, rows, text, out)
  }

  compile(hold) {
    let made
    try {
      made = generate(this, hold)
    } catch (error) {
      if (!(error instanceof EvalError)) throw error
      mayGenerate = false
      return null
    }
    if (hold) this.packed = made
    else this.texts = made
    return made
  }
}

/** The kind in which a column's cells are in this batch. */
function kindIn(decoder, i, hold) {
  const kind = decoder.shape.kinds[i]
  return hold || kind >= KIND_BYTES ? kind : 0
}

/** What makes a cell a value, (low, high) → value, if its column's are of two words. */
function wide(decoder, i) {
  const kind = decoder.shape.kinds[i]
  if (kind < KIND_FLOAT8) return undefined
  const conversion = decoder.conversions[i]
  if (kind === KIND_FLOAT8 && conversion === AS_FLOAT) return numbers.float
  if (kind === KIND_TIMESTAMPTZ && conversion === AS_INSTANT) return numbers.instant((s) => types.slowParser(1184)(s))
  const parse = converter(decoder, i)
  return kind === KIND_FLOAT8 ? numbers.floatFromText(parse) : numbers.instantFromText(parse)
}

/** Reads a cell of text where it lies in the batch's string, if its column's type can be read so. */
function reader(decoder, i) {
  return decoder.shape.kinds[i] === KIND_BYTES ? undefined : READ[decoder.conversions[i]]
}

/** What a cell of text (or bytes) becomes, once it is a string of its own. */
function converter(decoder, i) {
  const conversion = decoder.conversions[i]
  if (decoder.shape.kinds[i] === KIND_BYTES) {
    const parser = decoder.parsers[i]
    return (s) => parser(Buffer.from(s, 'latin1'))
  }
  if (conversion === AS_PARSER) return decoder.parsers[i]
  return conversion === AS_TEXT ? null : CONVERT[conversion]
}

function interpret(decoder, words, at, rows, hold, text, out) {
  const { shape, asArray, conversions, parsers } = decoder
  const { count, names, sources } = shape
  const convert = []
  const read = []
  const wides = []
  for (let i = 0; i < count; i++) {
    convert.push(converter(decoder, i))
    read.push(reader(decoder, i))
    wides.push(wide(decoder, i))
  }
  let offset = 0
  for (let row = 0; row < rows; row++) {
    const cells = new Array(count)
    for (let i = 0; i < count; i++) {
      const cell = words[at++]
      const kind = kindIn(decoder, i, hold)
      if (kind === KIND_INT) {
        if (cell === INT_NULL) cells[i] = null
        else if (conversions[i] === AS_INT) cells[i] = cell
        else cells[i] = conversions[i] === AS_TEXT ? String(cell) : parsers[i](String(cell))
      } else if (kind === KIND_BOOL) {
        if (cell < 0) cells[i] = null
        else if (conversions[i] === AS_BOOL) cells[i] = cell === 1
        else cells[i] = conversions[i] === AS_TEXT ? (cell === 1 ? 't' : 'f') : parsers[i](cell === 1 ? 't' : 'f')
      } else if (kind >= KIND_FLOAT8) cells[i] = wides[i](cell, words[at++])
      else if (cell < 0) cells[i] = null
      else if (read[i] !== undefined) {
        cells[i] = read[i](text, offset, cell)
        offset += cell
      } else {
        const s = text.slice(offset, (offset += cell))
        cells[i] = convert[i] === null ? s : convert[i](s)
      }
    }
    if (asArray) {
      out.push(cells)
      continue
    }
    const object = {}
    for (let n = 0; n < names.length; n++) {
      if (names[n] === '__proto__') define(object, cells[sources[n]])
      else object[names[n]] = cells[sources[n]]
    }
    out.push(object)
  }
}

function define(object, value) {
  Object.defineProperty(object, '__proto__', { configurable: true, enumerable: true, writable: true, value })
}

/** Statements that read column `i` into `c<i>`. */
function columnCode(decoder, i, hold) {
  const kind = kindIn(decoder, i, hold)
  const conversion = decoder.conversions[i]
  const read = `n = w[o++]; let c${i} = null; `
  if (kind === KIND_INT) {
    const value = conversion === AS_INT ? 'n' : conversion === AS_TEXT ? "'' + n" : `P[${i}]('' + n)`
    return `${read}if (n !== ${INT_NULL}) c${i} = ${value};`
  }
  if (kind === KIND_BOOL) {
    const letter = "n === 1 ? 't' : 'f'"
    const value = conversion === AS_BOOL ? 'n === 1' : conversion === AS_TEXT ? letter : `P[${i}](${letter})`
    return `${read}if (n >= 0) c${i} = ${value};`
  }
  if (kind === KIND_FLOAT8 && conversion === AS_FLOAT) {
    return `S[0] = w[o++]; n = S[1] = w[o++]; const c${i} = n === -1 && S[0] === -1 ? null : D[0];`
  }
  if (kind === KIND_TIMESTAMPTZ && conversion === AS_INSTANT) {
    const { above, below } = numbers.ORDINARY
    const value = `n > ${above} && n < ${below} ? new Date(n * 4294967296 + (w[o] >>> 0)) : W[${i}](w[o], n)`
    return `n = w[o + 1]; const c${i} = ${value}; o += 2;`
  }
  if (kind >= KIND_FLOAT8) return `const c${i} = W[${i}](w[o++], w[o++]);`
  if (reader(decoder, i) !== undefined) return `${read}if (n >= 0) { c${i} = R[${i}](t, p, n); p += n; }`
  const slice = 't.slice(p, p += n)'
  const value = converter(decoder, i) === null ? slice : `F[${i}](${slice})`
  return `${read}if (n >= 0) c${i} = ${value};`
}

function rowCode(decoder) {
  const { shape, asArray } = decoder
  if (asArray) return '[' + shape.fields.map((_, i) => `c${i}`).join(', ') + ']'
  const pairs = shape.names.map((name, n) => {
    // In a literal, only a computed key makes an own property of this name. The name itself stays a JSON literal.
    const key = name === '__proto__' ? '["__proto__"]' : literal(name)
    return `${key}: c${shape.sources[n]}`
  })
  return '{' + pairs.join(', ') + '}'
}

/** JSON, with the two line separators that were no part of JavaScript's strings before 2019. */
function literal(name) {
  return JSON.stringify(name)
    .replace(/\u2028/g, '\\u2028')
    .replace(/\u2029/g, '\\u2029')
}

function generate(decoder, hold) {
  const columns = decoder.shape.fields.map((_, i) => columnCode(decoder, i, hold))
  const body =
    'return function (w, o, rows, t, out) { let p = 0, n = 0; for (let r = 0; r < rows; r++) { ' +
    columns.join(' ') +
    ` out.push(${rowCode(decoder)}) } }`
  const functions = decoder.shape.fields.map((_, i) => converter(decoder, i))
  const readers = decoder.shape.fields.map((_, i) => reader(decoder, i))
  const wides = decoder.shape.fields.map((_, i) => wide(decoder, i))
  const { WORDS, DOUBLE } = numbers
  return new Function('F', 'P', 'R', 'W', 'S', 'D', body)(functions, decoder.parsers, readers, wides, WORDS, DOUBLE)
}

/** What the first result would have to wait for: pg-types looked for, and the functions above compiled by a row. */
function prepare() {
  types.isLoaded()
  const field = {
    name: 'n',
    tableID: 0,
    columnID: 0,
    dataTypeID: 23,
    dataTypeSize: 4,
    dataTypeModifier: -1,
    format: 'text',
  }
  const shape = new Shape([field])
  new Decoder(shape, false, null, shape.builtin()).decode([1], 0, 1, true, '', [])
}

module.exports = { Shape, prepare }
