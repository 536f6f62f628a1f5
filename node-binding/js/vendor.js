'use strict'

/** pg-connection-string and pgpass. A package build replaces this file by one bundle that holds both. */
module.exports = {
  get parseConnectionString() {
    return require('pg-connection-string').parse
  },
  get passwordFile() {
    return require('pgpass')
  },
}
