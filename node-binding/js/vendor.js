'use strict'
module.exports = {
  get connectionString() {
    return require('pg-connection-string')
  },
  get pgProtocol() {
    return require('pg-protocol')
  },
  get pgpass() {
    return require('pgpass')
  },
}
