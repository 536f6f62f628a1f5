// Numbers of several rounds, and of two drivers.

export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

export const summary = (rounds) => ({
  median: median(rounds),
  min: Math.min(...rounds),
  max: Math.max(...rounds),
  rounds,
})

/** Of what more is better; of everything else, less. */
const MORE_IS_BETTER = new Set(['speed'])

/** How many times better `ours` is than `theirs`, by their medians: 2 is twice the speed, half the time, half the memory. */
export function advantage(measure, ours, theirs) {
  return MORE_IS_BETTER.has(measure) ? ours.median / theirs.median : theirs.median / ours.median
}

/** The round that was disturbed least: whatever else a machine does only ever makes it slower. */
export const best = (measure, { min, max }) => (MORE_IS_BETTER.has(measure) ? max : min)
