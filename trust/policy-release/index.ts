/**
 * Releases of policies, delivered to nodes as signed collections: their archives, stages, publication and
 * update. For programs that publish releases, and for nodes that follow them.
 */
export { unpackRelease } from './archive.ts';
export type { ReleaseFiles } from './archive.ts';
export { collectRelease, filesOutside } from './collect.ts';
export type { LoadedFiles } from './collect.ts';
export { advanceRelease, listReleases, publishRelease, withdrawRelease } from './publish.ts';
export type { NodeReport, PublishedRelease } from './publish.ts';
export { channelPattern, isFor, mostStages, releaseFor, releasePath, stageName } from './release.ts';
export type { HaltRule, PolicyRelease, ReleaseStage, StagedNode } from './release.ts';
export { openReleases, sha256Of } from './source.ts';
export type { ReleaseSource } from './source.ts';
export { updateReleases } from './update.ts';
export type { KnownReleases } from './update.ts';
