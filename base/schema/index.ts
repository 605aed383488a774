export { parseDocuments } from './parse.ts';
export { validate } from './validate.ts';
export { describeProblems, formatProblems, listProblems } from './format.ts';
export { problemAt, sortProblems } from './problems.ts';
export { validateParts } from './validate-parts.ts';
export { formatDocuments, writeYaml } from './write.ts';
export type { KeyOrder } from './write.ts';
export { formatPath } from './path.ts';
export type { Document, JsonSchema, ParseLimits, PathSegment, Position, Problem } from './types.ts';
