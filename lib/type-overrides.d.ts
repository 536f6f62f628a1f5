import { CustomTypesConfig } from '../node-binding/index'

type Format = 'text' | 'binary'
type Parser<I = number, T = any> = (value: I) => T

export = TypeOverrides

declare class TypeOverrides implements CustomTypesConfig {
  constructor(types?: CustomTypesConfig)
  setTypeParser<T>(oid: number, parser: Parser<string, T>): void
  setTypeParser<T>(oid: number, format: 'text', parser: Parser<string, T>): void
  setTypeParser<T>(oid: number, format: 'binary', parser: Parser<Buffer, T>): void
  getTypeParser<T>(oid: number, format?: Format): Parser
}
