export { append } from './append.ts';
export { collectBytes } from './collect-bytes.ts';
export type { CollectedBytes } from './collect-bytes.ts';
export { closest } from './closest.ts';
export { largest, smallest } from './extremes.ts';
export { isAtOrUnder, outermostPaths, underAny } from './paths-below.ts';
