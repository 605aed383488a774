import type { ConfigSchema } from './config-schema.ts';
import { sizePattern } from './bytes.ts';

const size = { type: 'string', pattern: sizePattern } as const;

/** The key `checkpoint` of `config.yaml`. */
export const checkpointSchema: ConfigSchema = {
  type: 'object',
  description:
    'Checkpoints of containers (CheckpointContainer) by criu and runc. An archive contains the memory of its container with every secret in it. See docs/checkpoints.md.',
  additionalProperties: false,
  properties: {
    enabled: { type: 'boolean', description: 'Whether checkpoints are written.', default: false },
    restore: {
      type: 'boolean',
      description:
        'Whether a container is restored by criu and runc if its image is signed and holds a checkpoint. Otherwise such an image is like any other.',
      default: false,
    },
    folders: {
      type: 'array',
      description:
        'Folders in which a client may have archives written. The client must name such a folder as it is written here. Only root may be able to change them. A kubelet uses `checkpoints` in its root folder.',
      items: { type: 'string', format: 'path', minLength: 1, maxLength: 4096 },
      minItems: 1,
      uniqueItems: true,
      default: ['/var/lib/kubelet/checkpoints'],
    },
    maxSize: {
      ...size,
      description:
        'Size, such as `2Gi`, above which no checkpoint is written. It counts the memory of the container and the files that it changed.',
      default: '2Gi',
    },
    keepFree: {
      ...size,
      description: 'Space that stays free on the disks to which a checkpoint is written.',
      default: '1Gi',
    },
    timeout: {
      type: 'integer',
      minimum: 1,
      maximum: 3600,
      description:
        'Seconds that a checkpoint may take. The container does not run for most of this time. A request may set less.',
      default: 60,
    },
  },
};
