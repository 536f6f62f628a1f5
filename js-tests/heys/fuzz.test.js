'use strict'

const assert = require('node:assert/strict')
const { it } = require('node:test')
const { differs, report } = require('../fuzz')
const { settings } = require('../server')

/** `npm run test:fuzz` plays 20,000, or any number from any seed. */
const CASES = 150
/** The same for programs that repeat themselves, so that heys-db prepares their statements by itself. */
const HOT = 60
/** Seeds that have found something once. */
const FOUND = [2, 9, 25, 40, 43, 218, 376, 578, 631, 871, 1172]

it(`random programs see the same on pg and on heys-db (${CASES} of them)`, async () => {
  const server = await settings()
  const range = (first, length) => Array.from({ length }, (_, i) => first + i)
  const seeds = [...FOUND, ...range(100000, CASES), ...range(1000000, HOT)]
  for (const seed of seeds) {
    const difference = await differs(seed, server)
    if (difference !== undefined) assert.fail(report(difference))
  }
})
