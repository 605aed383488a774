export { inspectKeys, keyFlaw } from './inspect-keys.ts';
export type { FieldNames } from './inspect-keys.ts';
export { hasManyValues } from './many-values.ts';
export { maxJsonDepth, parseJson } from './parse-json.ts';
export { parseCutJson } from './parse-cut-json.ts';
export { stringAt } from './string-at.ts';
