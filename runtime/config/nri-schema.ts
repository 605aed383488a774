import type { ConfigSchema } from './config-schema.ts';

const path = { type: 'string', format: 'path', maxLength: 4096 } as const;
const milliseconds = { type: 'integer', minimum: 100, maximum: 60_000 } as const;

/** The key `nri` of `config.yaml`. */
export const nriSchema: ConfigSchema = {
  type: 'object',
  description:
    'Plugins of the node that adjust containers by the Node Resource Interface (NRI), as in containerd and CRI-O. See docs/nri.md.',
  additionalProperties: false,
  properties: {
    enabled: { type: 'boolean', description: 'Whether plugins are started and accepted.', default: false },
    socket: {
      ...path,
      description:
        'Unix socket at which plugins connect. Only root may connect. If empty, only pre-installed plugins are used.',
      default: '/var/run/nri/nri.sock',
    },
    pluginPath: {
      ...path,
      minLength: 1,
      description:
        'Folder of pre-installed plugins, named `NN-NAME`. The daemon starts them. Only root may be able to change it.',
      default: '/opt/nri/plugins',
    },
    pluginConfigPath: {
      ...path,
      minLength: 1,
      description: 'Folder with the configurations of plugins: `NN-NAME.conf` or `NAME.conf`.',
      default: '/etc/nri/conf.d',
    },
    registrationTimeout: {
      ...milliseconds,
      description: 'Milliseconds within which a plugin must register after it has connected or was started.',
      default: 5_000,
    },
    requestTimeout: {
      ...milliseconds,
      description:
        'Milliseconds within which a plugin must answer a request. A plugin that does not is disconnected.',
      default: 2_000,
    },
    allowHooks: {
      type: 'array',
      description:
        'Paths of programs of the host that plugins may add to containers as OCI hooks. A hook runs on the host as root, so by default none is allowed. The ceiling of the image must allow it too.',
      items: { ...path, minLength: 1 },
      uniqueItems: true,
      default: [],
    },
    required: {
      type: 'array',
      description:
        'Names of plugins, such as `device-injector` or `10-device-injector`, without which no container is created. If one of them fails, the request fails. Other plugins that fail are skipped.',
      items: { type: 'string', pattern: '^[A-Za-z0-9_.+-]{1,131}$' },
      uniqueItems: true,
      default: [],
    },
  },
};
