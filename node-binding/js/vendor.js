'use strict'
module.exports = {
  get connectionString() {
    return require('pg-connection-string')
  },
  get pgpass() {
    return require('pgpass')
  },
}
