import type { ConfigSchema } from './config-schema.ts';

const path = { type: 'string', format: 'path', minLength: 1, maxLength: 4096 } as const;

const name = '[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?';
const host = `(\\[[0-9A-Fa-f:]+\\]|${name})(:[0-9]{1,5})?`;

/** The maximum number of mirrors of one prefix. */
export const mostMirrors = 16;

/** A registry’s host in the form HOST[:PORT]. */
export const hostPattern = `^${host}$`;

/** The beginning of a name: HOST[:PORT][/PATH], or *.DOMAIN. */
export const prefixPattern = `^(\\*\\.${name}|${host}(/[a-z0-9]+([._-]+[a-z0-9]+)*)*)$`;

const mirrorUrl = (description: string): ConfigSchema => ({
  type: 'string',
  pattern: '^https?://[^\\s?#@]+$',
  maxLength: 1024,
  description,
});

const mirrorOfPrefix: ConfigSchema = {
  type: 'object',
  description: 'A mirror.',
  additionalProperties: false,
  required: ['url'],
  properties: {
    url: mirrorUrl(
      'URL of the mirror, with the path that replaces the prefix: with `https://mirror.example.com/cache` for the prefix `quay.io/team`, the mirror has `quay.io/team/app` as `cache/app`. With `http://`, the mirror is reached over plain HTTP.',
    ),
    tags: {
      type: 'boolean',
      description:
        'Whether the mirror may resolve tags. A mirror with `false` only serves content by digest, also content of an image whose tag another source resolved. Default: `true`.',
    },
    authFile: { ...path, description: 'As `registries.mirrors.NAME.authFile`.' },
  },
};

/** The key `registries` of `config.yaml`. */
export const registriesSchema: ConfigSchema = {
  type: 'object',
  description:
    'Connections to registries. Neither a mirror nor a redirect changes the name that a policy matches.',
  additionalProperties: false,
  properties: {
    mirrors: {
      type: 'object',
      description:
        'Registries with one mirror, by registry host, such as `registry.k8s.io`. `registries.prefixes` has more possibilities.',
      propertyNames: { pattern: hostPattern },
      additionalProperties: {
        type: 'object',
        additionalProperties: false,
        required: ['url'],
        properties: {
          url: mirrorUrl(
            'URL of the mirror, such as `https://mirror.example.com`. With `http://`, the mirror is reached over plain HTTP. If several registries, or a wildcard, have a mirror with this URL, requests name the registry in the query (`?ns=registry.k8s.io`), as those of containerd.',
          ),
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
    prefixes: {
      type: 'object',
      description:
        'Settings by the beginning of image names: `HOST[:PORT][/PATH]`, such as `quay.io/team`, or `*.DOMAIN` for all hosts below a domain. Only the longest entry that matches applies, and a name belongs in either `mirrors` or `prefixes`.',
      propertyNames: { pattern: prefixPattern, maxLength: 511 },
      additionalProperties: {
        type: 'object',
        additionalProperties: false,
        properties: {
          blocked: {
            type: 'boolean',
            description:
              'Whether these images are refused. A pull then fails with `DISTRIBUTION_BLOCKED` before any connection, and no mirror is asked for them. A host without a port stands for all its ports, and a host of Docker Hub for all its hosts. Mirrors at a blocked name are not used. Images that are present, and redirects, are not affected.',
            default: false,
          },
          mirrors: {
            type: 'array',
            description: 'Mirrors, in the order in which they are asked.',
            maxItems: mostMirrors,
            items: mirrorOfPrefix,
            default: [],
          },
          origin: {
            type: 'boolean',
            description: 'Whether content that the mirrors lack is requested from the registry itself.',
            default: true,
          },
        },
      },
      default: {},
    },
    insecure: {
      type: 'array',
      description:
        'Registry hosts that may be reached over plain HTTP. Loopback addresses and mirrors with `http://` are always allowed.',
      items: { type: 'string', pattern: hostPattern },
      uniqueItems: true,
      default: [],
    },
    tls: {
      type: 'object',
      description:
        'Certificates by host, `HOST[:PORT]` of a registry or a mirror. An entry replaces the host’s folder of `certificates`. Docker Hub’s host is `registry-1.docker.io`. Changed files are read again within 30 seconds.',
      propertyNames: { pattern: hostPattern },
      additionalProperties: {
        type: 'object',
        additionalProperties: false,
        properties: {
          ca: {
            type: 'array',
            description: 'Files of certificate authorities (PEM), in addition to the system’s.',
            items: path,
            maxItems: 64,
            default: [],
          },
          cert: { ...path, description: 'File of the client certificate (PEM), if the host requires one.' },
          key: {
            ...path,
            description:
              'File of the private key (PEM) of the client certificate. It can be the file of `cert`.',
          },
        },
      },
      default: {},
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
