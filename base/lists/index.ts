export { append } from './append.ts';
export { closest } from './closest.ts';
export { largest, smallest } from './extremes.ts';
export { isAtOrUnder, outermostPaths, underAny } from './paths-below.ts';
