export { append } from './append.ts';
export { largest, smallest } from './extremes.ts';
