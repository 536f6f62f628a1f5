'use strict'

/** The nightly backup: everything it does is heys-db's, everything it needs is in the environment. */
exports.handler = require('heys-db/backup-handler').handler
