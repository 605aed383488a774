import type { ConfigSchema } from './config-schema.ts';

/** The key `images` of `config.yaml`. */
export const imagesSchema: ConfigSchema = {
  type: 'object',
  description: 'Images and artifacts on this node.',
  additionalProperties: false,
  properties: {
    pinned: {
      type: 'array',
      description:
        'Images that a kubelet does not remove to free space: a whole reference such as `registry.example.com/app:1`, the beginning of one before `*`, or a part of one between two `*`. Beginnings and parts are compared with full names, such as `docker.io/library/busybox:1`. Read again at SIGHUP. RemoveImage removes pinned images, too.',
      items: {
        type: 'string',
        maxLength: 1024,
        pattern: '^([A-Za-z0-9._:/@\\[\\]-]+\\*?|\\*[A-Za-z0-9._:/@\\[\\]-]+\\*|\\*)$',
      },
      maxItems: 256,
      uniqueItems: true,
      default: [],
    },
    maxParallelPulls: {
      type: 'integer',
      minimum: 0,
      maximum: 1000,
      description:
        'Maximum number of pulls at a time; further pulls wait. With 1, pulls are serial. With 0, there is no limit apart from the kubelet’s.',
      default: 0,
    },
    lazy: {
      type: 'boolean',
      description:
        'Whether a container may start before the layers of its image are on this node, if the publisher has signed a chunk index for the image. Each part is compared with the index before a process reads it. Needs Linux 6.14 and layers that are files. Without such an index, images are pulled as a whole. See docs/lazy-start.md.',
      default: false,
    },
  },
};
