// What the libraries' tests share. It is copied into each library's tree.

import assert from 'node:assert/strict'

export { assert }

/** A database of this test's own. */
export const connectionString = process.env.DATABASE_URL

/** Runs the steps of `body(it)` in order, prints each, and ends with `N passed`. A failing step ends the test. */
export async function suite(name, body) {
  let passed = 0
  let current = 'the start'
  try {
    assert.equal('getPool' in (await import('pg')).default, process.env.HEYS_PROVIDER !== 'pg')
    await body(async (step, run) => {
      current = step
      await run()
      passed++
      console.log(`  ✔ ${step}`)
    })
    console.log(`${passed} passed`)
  } catch (error) {
    console.error(`${name}: ${current} failed`, error)
    process.exitCode = 1
  }
}

/** `promise` rejects with an error of these properties; a regular expression matches a string. */
export async function rejects(promise, wanted) {
  await assert.rejects(Promise.resolve(promise), wanted)
}
