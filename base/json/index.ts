export { maxJsonDepth, parseJson } from './parse-json.ts';
