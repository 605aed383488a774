/**
 * Transfers of images with all their evidence: copies between registries, archives, image layouts, and what
 * a mirror has lost. For programs that carry images.
 */
export {
  archiveReference,
  copyReference,
  evidenceOfReference,
  extractPolicy,
  loadArchive,
  verifyArchive,
} from './carry.ts';
export { lackingAtMirror, mirrorLosses } from './mirror-losses.ts';
export type { FoundEvidence, MirrorLoss } from './mirror-losses.ts';
export { isComplete, lostInCopy } from './inventory.ts';
export type { EvidencePiece, ImageInventory, LostInCopy } from './inventory.ts';
export { exportReference, pushImageFile } from './carry-files.ts';
export { copyRemarks } from './copy-image.ts';
export type { CopyProgress } from './copy-image.ts';
export { useImageFile } from './image-file.ts';
export { openLayout } from './layout.ts';
export type { LayoutFiles } from './layout.ts';
