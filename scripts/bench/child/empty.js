'use strict'

// The same process without a driver: what a runtime takes before any driver's part begins.

const { now, cpuMicros, memory, report, main } = require('./process')

main(async () => report({ at: now(), cpu: cpuMicros(), rss: memory('VmRSS') }))
