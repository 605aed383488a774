export { createLogger } from './logger.ts';
export { withLogFields } from './fields.ts';
export type { Logger, LogLevel } from './logger.ts';
