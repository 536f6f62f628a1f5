module.exports = require('heys-db')
