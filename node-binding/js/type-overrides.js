'use strict'

/** Type parsers of one client over those of another source (pg-types unless given). Made only when asked for. */
function TypeOverrides(userTypes) {
  this._types = userTypes || require('pg-types')
  this.text = {}
  this.binary = {}
}

TypeOverrides.prototype.getOverrides = function (format) {
  return format === 'text' ? this.text : format === 'binary' ? this.binary : {}
}

TypeOverrides.prototype.setTypeParser = function (oid, format, parseFn) {
  if (typeof format === 'function') this.getOverrides('text')[oid] = format
  else this.getOverrides(format)[oid] = parseFn
}

TypeOverrides.prototype.getTypeParser = function (oid, format) {
  const wanted = format || 'text'
  return this.getOverrides(wanted)[oid] || this._types.getTypeParser(oid, wanted)
}

module.exports = TypeOverrides
