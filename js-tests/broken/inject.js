'use strict'

// Loaded before everything else by test-broken.mjs: breaks one file of node-binding/js as HEYS_FAULT says.

const fs = require('node:fs')
const Module = require('node:module')
const path = require('node:path')
const { faults } = require('./faults')

const fault = faults.find(({ name }) => name === process.env.HEYS_FAULT)
if (fault === undefined) throw new Error(`There is no fault ${process.env.HEYS_FAULT}`)
const broken = path.join(__dirname, '../../node-binding/js', fault.file)
const compile = Module._extensions['.js']

Module._extensions['.js'] = (module, file) => {
  if (file !== broken) return compile(module, file)
  const text = fs.readFileSync(file, 'utf8')
  if (!text.includes(fault.from)) throw new Error(`The fault "${fault.name}" finds nothing to break in ${fault.file}`)
  return module._compile(text.replace(fault.from, fault.to), file)
}
