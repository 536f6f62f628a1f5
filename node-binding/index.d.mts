import heys = require('./index.js')

export * from './index.js'
export default heys
