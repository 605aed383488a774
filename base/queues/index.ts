export { createKeyedQueue } from './keyed-queue.ts';
export type { KeyedQueue } from './keyed-queue.ts';
export { orAborted } from './or-aborted.ts';
export { createSerialQueue } from './serial-queue.ts';
export type { SerialQueue } from './serial-queue.ts';
