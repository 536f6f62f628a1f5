'use strict'

/** A function's entry point: one backup a call. Failures are answered, not thrown, so that the platform does not retry. */

function answer(statusCode, body) {
  return { statusCode, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }
}

async function handler(_event, context) {
  try {
    const { runBackup } = require('./backup')
    const report = await runBackup({ context })
    console.log('[Backup]', JSON.stringify(report))
    return answer(200, { success: true, s3Key: report.key, bucket: report.bucket, duration: report.durationMs })
  } catch (error) {
    console.error('[Backup] ERROR', error && error.message)
    return answer(500, { success: false, error: String(error && error.message) })
  }
}

module.exports = { handler }
