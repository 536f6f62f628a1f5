'use strict'

/** The inner modules that libraries require: pg/lib/result, pg/lib/utils.js and their neighbours. */

const assert = require('node:assert/strict')
const { describe, it } = require('node:test')
const { pg, provider } = require('./provider')

const name = provider === 'pg' ? 'pg' : 'heys-db'

describe(`${name}/lib`, () => {
  it('has the modules under both names, which are those of the package itself', () => {
    const same = {
      client: pg.Client,
      defaults: pg.defaults,
      query: pg.Query,
      result: pg.Result,
      'type-overrides': pg.TypeOverrides,
      utils: pg.utils,
      index: pg,
    }
    for (const [file, value] of Object.entries(same)) {
      for (const path of [`${name}/lib/${file}`, `${name}/lib/${file}.js`]) {
        const found = require(path)
        if (file === 'index') assert.equal(found.Client, value.Client, path)
        else assert.equal(found === value || found.prepareValue === value.prepareValue, true, path)
      }
    }
  })

  it('gives Result, utils and parameters that work by themselves', () => {
    const Result = require(`${name}/lib/result`)
    const result = new Result('array')
    result.addFields([{ name: 'a', dataTypeID: 23, format: 'text' }])
    assert.deepEqual(result.parseRow(['7']), [7])
    result.addCommandComplete({ text: 'INSERT 0 3' })
    assert.deepEqual([result.command, result.rowCount], ['INSERT', 3])

    const byName = new Result()
    byName.addFields([
      { name: 'a', dataTypeID: 25, format: 'text' },
      { name: 'b', dataTypeID: 16, format: 'text' },
    ])
    assert.deepEqual({ ...byName.parseRow(['x', 't']) }, { a: 'x', b: true })
    assert.deepEqual({ ...byName.parseRow([null, 'f']) }, { a: null, b: false })

    const { prepareValue } = require(`${name}/lib/utils`)
    assert.equal(prepareValue([1, null, 'a"b']), '{"1",NULL,"a\\"b"}')
    assert.equal(prepareValue({ toPostgres: () => 5 }), '5')

    const Parameters = require(`${name}/lib/connection-parameters`)
    const parameters = new Parameters('postgres://ada:pw@db.example:6432/heys?application_name=x')
    assert.equal(parameters.user, 'ada')
    assert.equal(parameters.port, 6432)
    assert.equal(parameters.application_name, 'x')
  })

  it('has a connection module', () => {
    assert.equal(typeof require(`${name}/lib/connection`), 'function')
  })
})
