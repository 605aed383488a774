import { PortcullisError } from '../../base/errors/index.ts';
import type { ResolvedImage } from '../images/resolve.ts';
import { isObject, parseObject } from '../images/manifest/json.ts';

/**
 * The keys by which CRI-O and containerd know an image that holds a checkpoint (checkpointctl,
 * lib/annotations.go; CRI-O, pkg/annotations).
 */
const checkpointKey = /^(?:org\.criu\.checkpoint|io\.kubernetes\.cri-o\.annotations\.checkpoint)\./;

/**
 * Refuses an image that holds a checkpoint. From it, a backend restores a container with the settings and the
 * base image that the checkpoint names, whatever CreateContainer says.
 * @throws PortcullisError PROXY_NO_VERDICT
 */
export function refuseCheckpoint({ documents }: Pick<ResolvedImage, 'documents'>, reference: string): void {
  const annotations = documents
    .map(({ bytes }) => parseObject(bytes, 'IMAGES_BAD_MANIFEST', reference))
    // Backends in Go read names of fields in any case.
    .flatMap((document) => Object.entries(document).filter(([name]) => /^annotations$/i.test(name)))
    .flatMap(([, value]) => (isObject(value) ? Object.keys(value) : []));
  if (!annotations.some((key) => checkpointKey.test(key))) return;
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
