export { createRemoteAttachments } from './client/attachments.ts';
export type { RemoteAttachments } from './client/attachments.ts';
export { openDockerApi } from './docker/docker-api.ts';
export { readDockerContainer } from './docker/docker-container.ts';
export { createDockerDriver } from './driver/driver.ts';
export type { DockerDriver, DockerDriverOptions } from './driver/driver.ts';
