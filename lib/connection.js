'use strict'

module.exports = require('../node-binding/js/connection')
