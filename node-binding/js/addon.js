'use strict'

const fs = require('fs')
const path = require('path')

/** Finds and loads the native addon. HEYS_ADDON names another file, for development. */

const PLATFORM = `${process.platform}-${process.arch}`
const LIBCS = process.platform === 'linux' ? ['-gnu', '-musl'] : ['']

function fail(code, message, cause) {
  const error = new Error(message, cause && { cause })
  error.code = code
  return error
}

function locate() {
  if (process.env.HEYS_ADDON) return path.resolve(process.env.HEYS_ADDON)
  for (const folder of [__dirname, path.join(__dirname, '..'), path.join(__dirname, '..', '..')]) {
    for (const libc of LIBCS) {
      const file = path.join(folder, `heys-db.${PLATFORM}${libc}.node`)
      if (fs.existsSync(file)) return file
    }
  }
  throw fail(
    'HEYS_ADDON_NOT_FOUND',
    `heys-db has no native addon for this platform (${PLATFORM}, Node ${process.version}). Install a heys-db ` +
      'package that contains one, build it from the sources with "npm run build", or name its file in HEYS_ADDON.',
  )
}

function load() {
  const file = locate()
  try {
    return require(file)
  } catch (cause) {
    throw fail(
      'HEYS_ADDON_BROKEN',
      `heys-db could not load its native addon ${file} on ${PLATFORM}, Node ${process.version}: ${cause.message}. ` +
        'Reinstall heys-db for this platform, or name another file in HEYS_ADDON.',
      cause,
    )
  }
}

module.exports = { load }
