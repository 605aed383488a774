import type { ConfigSchema } from './config-schema.ts';

const path = { type: 'string', format: 'path', minLength: 1, maxLength: 4096 } as const;

/** A registry’s host in the form HOST[:PORT]. */
export const hostPattern = '^(\\[[0-9A-Fa-f:]+\\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)(:[0-9]{1,5})?$';

/** The key `registries` of `config.yaml`. */
export const registriesSchema: ConfigSchema = {
  type: 'object',
  description: 'Connections to registries. Neither a mirror nor a redirect changes the name that a policy matches.',
  additionalProperties: false,
  properties: {
    mirrors: {
      type: 'object',
      description: 'Mirrors by registry host, such as `registry.k8s.io`.',
      propertyNames: { pattern: hostPattern },
      additionalProperties: {
        type: 'object',
        additionalProperties: false,
        required: ['url'],
        properties: {
          url: {
            type: 'string',
            pattern: '^https?://[^\\s?#@]+$',
            description: 'URL of the mirror, such as `https://mirror.example.com`. With `http://`, the mirror is reached over plain HTTP.',
          },
          origin: {
            type: 'boolean',
            description: 'Whether content that the mirror lacks is requested from the registry itself.',
            default: true,
          },
          authFile: {
            ...path,
            description:
              'File with credentials for the mirror’s host, in the format of `docker login` and `podman login --authfile`. It is read when the daemon starts. Credentials from a kubelet are for the registry itself, and are never sent to a mirror. The authorities and client certificates of the mirror’s host belong in `registries.certificates`. The mirror’s certificate is always checked.',
          },
        },
      },
      default: {},
    },
    insecure: {
      type: 'array',
      description: 'Registry hosts that may be reached over plain HTTP. Loopback addresses and mirrors with `http://` are always allowed.',
      items: { type: 'string', pattern: hostPattern },
      uniqueItems: true,
      default: [],
    },
    certificates: {
      type: 'array',
      description:
        'Folders with certificate authorities and client certificates for each registry host. `FOLDER/HOST[:PORT]/` contains `*.crt` (authorities, in addition to the system’s) and pairs of `NAME.cert` and `NAME.key`. The first folder with a subfolder for the host is used. Changed files are read again within 30 seconds.',
      items: path,
      uniqueItems: true,
      default: ['/etc/containers/certs.d', '/etc/docker/certs.d'],
    },
  },
};
