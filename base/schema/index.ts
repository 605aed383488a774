export { parseDocuments } from './parse.ts';
export { validate } from './validate.ts';
export { formatProblems } from './format.ts';
export { formatDocuments, writeYaml } from './write.ts';
export type { KeyOrder } from './write.ts';
export { formatPath } from './path.ts';
export type { Document, ParseLimits, PathSegment, Position, Problem } from './types.ts';
export type { JsonSchema } from './validate.ts';
