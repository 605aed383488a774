import { PortcullisError } from '../../base/errors/index.ts';
import { saysCheckpoint } from '../images/checkpoint-image.ts';
import type { ResolvedImage } from '../images/resolve.ts';

/**
 * Refuses an image that holds a checkpoint. From it, a backend restores a container with the settings and the
 * base image that the checkpoint names, whatever CreateContainer says.
 * @throws PortcullisError PROXY_NO_VERDICT
 */
export function refuseCheckpoint({ documents }: Pick<ResolvedImage, 'documents'>, reference: string): void {
  const bytes = documents.map((document) => document.bytes);
  if (!saysCheckpoint(bytes, reference)) return;
  throw new PortcullisError({
    code: 'PROXY_NO_VERDICT',
    kind: 'denied',
    attempted: 'use image',
    on: reference,
    why: 'it contains a checkpoint, whose processes, settings and base image have no verdict',
    fix: 'create the container again from its image',
    prefix: 'SignatureValidationFailed',
  });
}
