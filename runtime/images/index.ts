export { createImageStore } from './image-store.ts';
export type { ImageStoreOptions, OpenImageStore } from './image-store.ts';
export { imageMigrations } from './schema.ts';
export { defaultLimits } from './limits/limits.ts';
export { refusingRule } from './decisions.ts';
export type { ImageLimits } from './limits/limits.ts';
export type { ImageErrorCode } from './limits/failures.ts';
export type { ImageConfig, ImageRecord, ImageStore, PullCredentials, PullRequest, Rootfs } from './types.ts';
export { dropUnrecorded } from './unrecorded.ts';
