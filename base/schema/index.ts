export { parseDocuments } from './parse.ts';
export { validate } from './validate.ts';
export { formatProblems } from './format.ts';
export { formatPath } from './path.ts';
export type { Document, ParseLimits, PathSegment, Position, Problem } from './types.ts';
export type { JsonSchema } from './validate.ts';
