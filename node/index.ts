export { applyState, describeFailures, requireNoGroup } from './agent/apply.ts';
export { formatPreview, previewState } from './agent/preview.ts';
export type { Preview } from './agent/preview.ts';
export { startNodeAgent } from './agent/serve.ts';
export type { NodeAgent } from './agent/serve.ts';
export { nodeControllers } from './controllers/registry.ts';
export type { NodePlaces } from './controllers/registry.ts';
export { documentReader } from './document/read.ts';
export { mostLabels, nodeGroupSchema, nodeStateSchema } from './document/schema.ts';
export { agentIdentity } from './groups/claim.ts';
export { joinGroups } from './groups/member.ts';
export type { Member, MemberNode } from './groups/member.ts';
export {
  applyGroup,
  forgetNode,
  listGroups,
  removeGroup,
  resumeGroup,
  rollBackGroup,
} from './groups/operate.ts';
export type { ListedGroup } from './groups/operate.ts';
export {
  bootPath,
  entriesFolder,
  entryFileName,
  entryText,
  partitions,
  slots,
  triesOfGoodSlot,
} from './image/boot-entry.ts';
export type { Slot } from './image/boot-entry.ts';
export { installUpdate } from './image/install-update.ts';
export type { ImagePlaces, Installed, RunningImage } from './image/install-update.ts';
export { bundleName, formatManifest, imageParts, manifestName, mostManifestBytes } from './image/manifest.ts';
export type { ImagePart, NodeImageManifest, PartFile } from './image/manifest.ts';
export { identityFile, runningImage } from './image/running-image.ts';
export { confirmSlot, findEntries } from './image/slot-entries.ts';
export { openUpdateSource } from './image/update-source.ts';
export { openNodeFiles } from './store/node-files.ts';
export type { NodeStatus, SectionStatus } from './store/node-files.ts';
export type { Controller, NodeState } from './model/types.ts';
