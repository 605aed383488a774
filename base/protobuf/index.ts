export { createCodecs } from './codec.ts';
export type { CodecOptions, MessageCodec } from './codec.ts';
export { methodKey, parseDeclaration } from './declaration.ts';
export type { Contract, Declaration, Field, FieldType } from './declaration.ts';
export type { Init } from './init.ts';
export { generateTypes } from './types.ts';
