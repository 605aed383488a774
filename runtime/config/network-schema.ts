import { overlaySchema } from './overlay-schema.ts';
import type { ConfigSchema } from './config-schema.ts';

const path = { type: 'string', format: 'path', minLength: 1, maxLength: 4096 } as const;

/** The key `network` of `config.yaml`. */
export const networkSchema: ConfigSchema = {
  type: 'object',
  description: 'Who may talk to whom.',
  additionalProperties: false,
  properties: {
    policies: {
      ...path,
      description:
        'Folder of Kubernetes NetworkPolicies and namespaces, as YAML or JSON files; followed while the daemon runs. It may be missing.',
      default: '/etc/portcullis/network-policies',
    },
    plugins: {
      type: 'string',
      enum: ['auto', 'exec'],
      description:
        'How the plugins of a network are run. `auto`: in the daemon, without starting a program, where all of them are ours, with or without the prefix `portcullis-`; else all as programs of `cni.binDirs`. `exec`: always as programs.',
      default: 'auto',
    },
    cacheDir: {
      ...path,
      description: 'Folder that stores the results of third-party plugins, as libcni stores them.',
      default: '/var/lib/cni',
    },
    maxConfigs: {
      type: 'integer',
      minimum: 1,
      maximum: 16,
      description: 'How many networks of `cni.confDir` a pod gets at most: the first is eth0, the next eth1.',
      default: 1,
    },
    dockerDriver: {
      ...path,
      description:
        'The unix socket at which the daemon serves docker as a remote driver of libnetwork, mode 0600; docker finds `/run/docker/plugins/NAME.sock` by its name. Without it docker is not served.',
    },
    dockerSocket: {
      ...path,
      description:
        "The unix socket of docker's API, asked while docker is served: the names and aliases of its containers are answered to whoever else is on their networks. It may come later, and go.",
      default: '/run/docker.sock',
    },
    dns: {
      type: 'object',
      description: 'Names of networks: containers, aliases and services, answered at the gateways of bridges.',
      additionalProperties: false,
      properties: {
        enabled: { type: 'boolean', description: 'Whether names are answered.', default: true },
        upstreams: {
          type: 'array',
          items: { type: 'string', minLength: 2, maxLength: 45 },
          maxItems: 8,
          description:
            'Addresses of name servers that are asked for all other names, the first that is well before the others. Empty: those of /etc/resolv.conf, followed. A pod may have its own.',
          default: [],
        },
        ttl: {
          type: 'integer',
          minimum: 0,
          maximum: 86_400,
          description: 'Seconds for which whoever asked may keep the address of a name.',
          default: 5,
        },
        maxForwards: {
          type: 'integer',
          minimum: 1,
          maximum: 20_000,
          description:
            'How many questions to other name servers may be under way, a quarter of them for one asker; more are answered with a failure at once.',
          default: 1000,
        },
      },
    },
    services: {
      type: 'object',
      description: 'Virtual addresses that are balanced over backends.',
      additionalProperties: false,
      properties: {
        backend: {
          type: 'string',
          enum: ['auto', 'nftables', 'ipvs'],
          description:
            'What balances: nf_tables or IPVS. `auto`: nf_tables where the kernel has what it needs, else IPVS. `portcullis service apply --backend` changes it until the next start.',
          default: 'auto',
        },
        folder: {
          ...path,
          description: 'Folder of services as YAML or JSON files; followed while the daemon runs. It may be missing.',
          default: '/etc/portcullis/services',
        },
        kubernetes: {
          type: 'object',
          description: 'A cluster whose Services are balanced on this node, in the place of kube-proxy. Without it none.',
          additionalProperties: false,
          required: ['kubeconfig'],
          properties: {
            kubeconfig: {
              ...path,
              description:
                'How its API is reached; read again for each request, with the files that it names. Its user lists and watches services and endpointslices (ClusterRole system:node-proxier).',
            },
            nodeName: {
              type: 'string',
              minLength: 1,
              maxLength: 253,
              description: "This node's name in the cluster. Without it that of the machine in lower case, as a kubelet has it.",
            },
            zone: {
              type: 'string',
              minLength: 1,
              maxLength: 63,
              description: "The node's label topology.kubernetes.io/zone. Without it hints for zones are not followed.",
            },
            externalIPs: {
              type: 'array',
              items: { type: 'string', minLength: 1, maxLength: 49 },
              maxItems: 256,
              description:
                'Prefixes: of the `externalIPs` of Services only addresses in these are served; an empty list serves none. Without it all are, as with kube-proxy: then who may write a Service can take traffic to any address outside the cluster (CVE-2020-8554).',
            },
          },
        },
      },
    },
    overlay: overlaySchema,
    pluginTimeout: {
      type: 'integer',
      minimum: 1,
      maximum: 3600,
      description: 'Seconds that one call of a plugin that is run as a program may take; then it is killed with all that it started.',
      default: 60,
    },
  },
};
