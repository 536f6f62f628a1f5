'use strict'

// require() of the driver alone.

const { order, adapter, cpuMicros, memory, report, main } = require('./process')

main(async () => {
  const cpu = cpuMicros()
  const begun = performance.now()
  const library = adapter.load(order.driver)
  const measured = { time: performance.now() - begun, cpu: cpuMicros() - cpu, peak: memory('VmHWM') }
  if (typeof (library.Pool ?? library) !== 'function') throw new Error('this is no driver')
  report(measured)
})
