'use strict'

module.exports = require('../node-binding/js/type-overrides')
