'use strict'

/**
 * A Submittable in a client's queue: a query object that is not ours and speaks the protocol itself, through
 * `client.connection`. It has the part of a Task that the client needs.
 */
class Submitted {
  constructor(query) {
    this.query = query
    this.text = query.text
    this.name = query.name
    this.values = query.values
    this.emitter = query
    this.connection = undefined
    this.failure = undefined
    this.deadline = 0
    this.settled = false
    /** The server has said that it failed; it hears no more. */
    this.failed = false
  }

  /** Handles one message of the server, as node-postgres hands it to its active query. */
  message(message) {
    const { query, connection } = this
    if (this.failed) return
    switch (message.name) {
      case 'rowDescription':
        return query.handleRowDescription(message)
      case 'dataRow':
        return query.handleDataRow(message)
      case 'portalSuspended':
        return query.handlePortalSuspended(connection)
      case 'emptyQuery':
        return query.handleEmptyQuery(connection)
      case 'commandComplete':
        return query.handleCommandComplete(message, connection)
      case 'copyInResponse':
        return query.handleCopyInResponse(connection)
      case 'copyData':
        return query.handleCopyData(message, connection)
      case 'error':
        this.failed = true
        return query.handleError(message, connection)
    }
  }

  /** The server is ready for the next query. */
  finish() {
    this.settled = true
    if (!this.failed) this.query.handleReadyForQuery(this.connection)
  }

  /** It cannot go on: its time is over, or the connection is gone. */
  fail(error) {
    if (this.settled || this.failed) return
    this.settled = true
    const { query, connection } = this
    process.nextTick(() => query.handleError(error, connection))
    if (typeof query.callback === 'function') {
      query.callback(error)
      query.callback = () => {}
    }
  }
}

module.exports = { Submitted }
