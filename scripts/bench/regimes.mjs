// Where client and server run. S: both on one core, so that what either saves counts. F: wherever the system puts them.

import { readFileSync, readdirSync } from 'node:fs'
import { must, run } from '../lib/run.mjs'

export const REGIMES = { S: 'client and server on one core', F: 'client and server free' }

function allowedCores(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return /^Cpus_allowed_list:\s+(\S+)$/m.exec(status)[1]
}

/** Pid → its parent's, of all processes there are. */
function parents() {
  const found = new Map()
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    try {
      // The name, in brackets, may hold anything; behind it follow the state and the parent.
      const stat = readFileSync(`/proc/${entry}/stat`, 'utf8')
      found.set(Number(entry), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]))
    } catch {
      // It has ended meanwhile.
    }
  }
  return found
}

function withDescendants(pid) {
  const parentOf = parents()
  const family = [pid]
  for (const member of family) for (const [child, parent] of parentOf) if (parent === member) family.push(child)
  return family
}

/** Puts the servers that `pid` has started, and so each backend that they fork from now on, and clients into a regime. */
export class Regimes {
  #pid
  #all = allowedCores('self')

  constructor(pid) {
    this.#pid = pid
  }

  #cores(regime) {
    return regime === 'S' ? /^\d+/.exec(this.#all)[0] : this.#all
  }

  async applyToServer(regime) {
    const cores = this.#cores(regime)
    for (const pid of withDescendants(this.#pid)) {
      const { code, output } = await run('taskset', ['-a', '-c', '-p', cores, String(pid)], { print: false })
      // A backend of the last client may have ended meanwhile; a postmaster has not.
      if (code !== 0 && parents().has(pid)) throw new Error(`taskset: ${output}`)
    }
  }

  /** Runs a client to its end; resolves what it printed. */
  runClient(regime, program, args, options) {
    return must('taskset', ['-c', this.#cores(regime), program, ...args], options)
  }
}
