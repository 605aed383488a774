export { createTtrpcClient } from './client.ts';
export type { CallOptions, ClientOptions, TtrpcClient } from './client.ts';
export { createFrameCutter, createFrameTimer } from './frame-cutter.ts';
export type { FrameCutter, FrameTimer } from './frame-cutter.ts';
export { ttrpcMethods } from './messages.ts';
export type { Metadata, TtrpcMethod } from './messages.ts';
export { serveTtrpc, ttrpcHandler } from './server.ts';
export type { ServedCall, ServerOptions, TtrpcHandler, TtrpcServer } from './server.ts';
