'use strict'
// One backup in a process of its own; its last line is what it reports and what the kernel says of the process.

const { readFileSync } = require('node:fs')
const { runBackup } = require('../..')

/** `name: number` of a file in /proc/self. */
function counter(file, name) {
  return Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(readFileSync(`/proc/self/${file}`, 'utf8'))[1])
}

runBackup().then(
  (report) => {
    const peakBytes = counter('status', 'VmHWM') * 1024
    console.log(JSON.stringify({ report, peakBytes, writtenBytes: counter('io', 'write_bytes') }))
  },
  (error) => {
    console.error(error.message)
    process.exitCode = 1
  },
)
