import type { ConfigSchema } from './config-schema.ts';
import { sizePattern } from './bytes.ts';
import { enforcementSchema } from './enforcement-schema.ts';
import { networkSchema } from './network-schema.ts';

export const defaultConfigFile = '/etc/portcullis/config.yaml';

const path = { type: 'string', format: 'path', minLength: 1, maxLength: 4096 } as const;
const size = { type: 'string', pattern: sizePattern } as const;
const host = '^(\\[[0-9A-Fa-f:]+\\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)(:[0-9]{1,5})?$';
const address = '^(\\[[0-9A-Fa-f:]+\\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?):[0-9]{1,5}$';
const ids = { type: 'array', items: { type: 'integer', minimum: 0, maximum: 4_294_967_294 }, uniqueItems: true, default: [] } as const;

/** The schema of `config.yaml` (JSON Schema, draft 2020-12). Paths in the file are relative to its folder. */
export const configSchema: ConfigSchema = {
  type: 'object',
  description: 'Configuration of the Portcullis daemon.',
  additionalProperties: false,
  properties: {
    $schema: { type: 'string', description: 'Where an editor finds this schema; not read by the daemon.' },
    socket: {
      ...path,
      description: 'The unix socket of the CRI endpoint, mode 0660, owned by root.',
      default: '/run/portcullis/portcullis.sock',
    },
    peers: {
      type: 'object',
      description:
        'Who may connect to the socket beside root. Every connection is checked and logged with the credentials that the kernel vouches for.',
      additionalProperties: false,
      properties: {
        uids: { ...ids, description: 'User ids.' },
        gids: { ...ids, description: 'Primary group ids. The socket file belongs to the first of them.' },
      },
    },
    root: {
      ...path,
      description: 'Folder of lasting state: images, evidence, database, verdict log. Mode 0700.',
      default: '/var/lib/portcullis',
    },
    state: {
      ...path,
      description: 'Folder of state that ends with the boot: pinned namespaces, bundles, mounts.',
      default: '/run/portcullis',
    },
    policy: {
      type: 'array',
      description: 'Files, and folders of files, with trust policies and entitlement profiles. Without a policy everything new is denied.',
      items: path,
      uniqueItems: true,
      default: ['/etc/portcullis/policy'],
    },
    cni: {
      type: 'object',
      description: 'Where network configurations and plugins are found.',
      additionalProperties: false,
      properties: {
        confDir: {
          ...path,
          description: 'Folder of CNI configurations; the first by name is used, or the first `network.maxConfigs`.',
          default: '/etc/cni/net.d',
        },
        binDirs: {
          type: 'array',
          description: 'Folders of CNI plugins, in order of search.',
          items: path,
          minItems: 1,
          uniqueItems: true,
          default: ['/opt/cni/bin', '/usr/lib/cni'],
        },
        socket: {
          ...path,
          description:
            'The unix socket at which the plugins that `portcullis cni install` installs reach the daemon, mode 0600. Without it: `cni.sock` in the folder `state`.',
        },
      },
    },
    network: networkSchema,
    registries: {
      type: 'object',
      description: 'How registries are reached. Neither a mirror nor a redirect changes the name that a policy matches.',
      additionalProperties: false,
      properties: {
        mirrors: {
          type: 'object',
          description: 'Mirrors by registry host, such as `registry.k8s.io`.',
          propertyNames: { pattern: host },
          additionalProperties: {
            type: 'object',
            additionalProperties: false,
            required: ['url'],
            properties: {
              url: {
                type: 'string',
                pattern: '^https?://[^\\s?#@]+$',
                description: 'Where the mirror is; with `http://` it may be asked in plain HTTP.',
              },
              origin: { type: 'boolean', description: 'Whether the registry itself is asked for what the mirror lacks.', default: true },
              authFile: {
                ...path,
                description:
                  'File with credentials for the mirror’s host, as `docker login` and `podman login --authfile` write it; read when the daemon starts. What a kubelet brings is for the registry itself, and never sent to a mirror. Authorities and client certificates of the mirror’s host stand in `registries.certificates`; its certificate is always checked.',
              },
            },
          },
          default: {},
        },
        insecure: {
          type: 'array',
          description: 'Registry hosts that may be asked in plain HTTP. Loopback addresses and mirrors with `http://` always may.',
          items: { type: 'string', pattern: host },
          uniqueItems: true,
          default: [],
        },
        certificates: {
          type: 'array',
          description:
            'Folders with authorities and client certificates by registry host: `FOLDER/HOST[:PORT]/` holds `*.crt` (authorities, beside the system’s) and pairs of `NAME.cert` and `NAME.key`. The first folder that names a host counts. Files are read again within 30 seconds.',
          items: path,
          uniqueItems: true,
          default: ['/etc/containers/certs.d', '/etc/docker/certs.d'],
        },
      },
    },
    runtimes: {
      type: 'object',
      description: 'OCI runtimes by handler name. A pod names a handler by its RuntimeClass.',
      minProperties: 1,
      propertyNames: { pattern: '^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$' },
      additionalProperties: {
        type: 'object',
        additionalProperties: false,
        required: ['path'],
        properties: { path: { ...path, description: 'The program.' } },
      },
      default: { crun: { path: '/usr/bin/crun' }, runc: { path: '/usr/sbin/runc' } },
    },
    defaultRuntime: {
      type: 'string',
      minLength: 1,
      description: 'The handler of a pod that names none: a key of `runtimes`.',
      default: 'crun',
    },
    cgroupDriver: {
      type: 'string',
      enum: ['auto', 'cgroupfs', 'systemd'],
      description:
        'Who makes cgroups: the OCI runtime itself, or systemd at its request. `auto` is systemd where systemd is process 1. A kubelet asks and follows.',
      default: 'auto',
    },
    cgroupFavorDynmods: {
      type: 'boolean',
      description:
        'Tell the kernel, from Linux 6.18 on and until the next boot, to lock a process by itself while it enters a cgroup, instead of waiting for every processor of the machine (the mount option favordynmods). Older kernels are left as they are.',
      default: true,
    },
    streaming: {
      type: 'object',
      description:
        'The server of exec, attach and port-forward streams. Its URLs are handed out over the CRI, each for one use within a minute.',
      additionalProperties: false,
      properties: {
        address: {
          type: 'string',
          maxLength: 255,
          description: 'Where it listens. A kubelet is on the same machine.',
          default: '127.0.0.1',
        },
        port: { type: 'integer', minimum: 0, maximum: 65_535, description: 'Its port; 0 is any that is free.', default: 0 },
        tls: {
          type: 'object',
          description: 'Serve over TLS, with both files given.',
          additionalProperties: false,
          properties: {
            certFile: {
              type: 'string',
              format: 'path',
              maxLength: 4096,
              description: 'Certificate chain, PEM. Read again whenever the server starts.',
              default: '',
            },
            keyFile: { type: 'string', format: 'path', maxLength: 4096, description: 'Its private key, PEM.', default: '' },
          },
        },
        idleTimeout: {
          type: 'integer',
          minimum: 1,
          maximum: 2_000_000,
          description: 'Seconds after which a stream on which nothing moves is ended.',
          default: 14_400,
        },
        maxSessions: {
          type: 'integer',
          minimum: 1,
          maximum: 100_000,
          description: 'How many streams may be open at once.',
          default: 2_000,
        },
        maxSessionsPerContainer: {
          type: 'integer',
          minimum: 1,
          maximum: 100_000,
          description: 'How many of them to one container, or to the ports of one pod.',
          default: 500,
        },
      },
    },
    namespacePool: {
      type: 'integer',
      minimum: 0,
      maximum: 64,
      description: 'How many sets of pinned namespaces are kept ready for the next pods; 0 makes each when it is asked for.',
      default: 4,
    },
    kubeletRoot: {
      ...path,
      description:
        'The folder of the kubelet. What it keeps for a pod below `pods/UID` is that pod’s own; a mount of any other path of the host needs a ceiling that holds `host.paths`.',
      default: '/var/lib/kubelet',
    },
    cdi: {
      type: 'object',
      description: 'The Container Device Interface: devices that a driver describes in files.',
      additionalProperties: false,
      properties: {
        specDirs: {
          type: 'array',
          description: 'Folders of CDI specs, the most important last. Only files that nobody but root can change count.',
          items: path,
          uniqueItems: true,
          default: ['/etc/cdi', '/var/run/cdi'],
        },
      },
    },
    devices: {
      type: 'object',
      description: 'Devices of the host in containers.',
      additionalProperties: false,
      properties: {
        ownedByUser: {
          type: 'boolean',
          description:
            'Give devices that a container asks for to its run_as_user and run_as_group, instead of leaving the owner of the host.',
          default: false,
        },
      },
    },
    shm: {
      type: 'object',
      description: 'The /dev/shm that the containers of a pod share.',
      additionalProperties: false,
      properties: {
        size: { ...size, description: 'Its size, such as `64Mi`. What is in it counts as memory of the pod.', default: '64Mi' },
        limit: { ...size, description: 'What a pod may ask for by the annotation `portcullis.dev/shm-size`.', default: '1Gi' },
      },
    },
    logs: {
      type: 'object',
      description: 'Rotation of container logs where no kubelet rotates them.',
      additionalProperties: false,
      properties: {
        maxSize: {
          ...size,
          description:
            'A log that has grown beyond this is set aside and a new one begun; looked at every ten seconds. 0: never, the kubelet does it.',
          default: '0',
        },
        maxFiles: {
          type: 'integer',
          minimum: 2,
          maximum: 1000,
          description: 'How many files of one container’s log are kept, the current one included. The oldest is removed.',
          default: 5,
        },
      },
    },
    writableLayer: {
      type: 'object',
      description: 'What containers write into their root file system.',
      additionalProperties: false,
      properties: {
        size: {
          ...size,
          description:
            'How much each container may write, such as `10Gi`; a pod may ask for less by the annotation `portcullis.dev/rootfs-size`. 0: no limit but the pod’s. Needs project quotas on the file system of `root`; without them Status says that the limit does not hold.',
          default: '0',
        },
      },
    },
    strict: {
      type: 'boolean',
      description: 'Refuse OCI runtimes with known open vulnerabilities instead of running them behind checks.',
      default: false,
    },
    metrics: {
      type: 'object',
      description: 'Prometheus metrics and health, over plain HTTP without a login: see docs/observability.md.',
      additionalProperties: false,
      properties: {
        address: {
          type: 'string',
          pattern: `^$|${address}`,
          description: 'HOST:PORT that answers `/metrics` and `/healthz`, such as `127.0.0.1:9464`. Empty: none.',
          default: '',
        },
      },
    },
    tracing: {
      type: 'object',
      description: 'OpenTelemetry traces of calls, joined to those of the caller.',
      additionalProperties: false,
      properties: {
        endpoint: {
          type: 'string',
          pattern: '^$|^https?://[^\\s?#@]+$',
          description: 'Where a collector takes OTLP over HTTP, such as `http://127.0.0.1:4318`; `/v1/traces` is added. Empty: no traces.',
          default: '',
        },
        samplingRatePerMillion: {
          type: 'integer',
          minimum: 0,
          maximum: 1_000_000,
          description: 'How many of a million calls without a trace of their caller begin one. A caller that has a trace decides itself.',
          default: 0,
        },
      },
    },
    audit: {
      type: 'object',
      description: 'The log of who asked for what, one JSON object a line: see docs/observability.md.',
      additionalProperties: false,
      properties: {
        path: {
          type: 'string',
          format: 'path',
          maxLength: 4096,
          description: 'The file, mode 0600; opened again at SIGHUP. Empty: no audit log.',
          default: '',
        },
        reads: { type: 'boolean', description: 'Also calls that only look.', default: false },
        required: {
          type: 'boolean',
          description:
            'Refuse calls that change something while the log cannot be written; each is then logged before it is served as well.',
          default: false,
        },
      },
    },
    verdicts: {
      type: 'object',
      description: 'The log of verdicts, and what becomes of containers that the policy has left behind: see docs/verdicts.md.',
      additionalProperties: false,
      properties: {
        outOfPolicy: {
          type: 'string',
          enum: ['report', 'stop'],
          description:
            'What happens to a running container whose image the policy in force denies. `report`: it is reported as an event, a metric and a log line. `stop`: it is stopped as well, with 30 seconds to end.',
          default: 'report',
        },
        retentionDays: {
          type: 'integer',
          minimum: 0,
          maximum: 36_500,
          description:
            'After how many days the texts of verdicts, dossiers and policies that nothing refers to any more are dropped. Rows of the log stay, and one says what was dropped. 0: never.',
          default: 730,
        },
      },
    },
    enforcement: enforcementSchema,
    logLevel: {
      type: 'string',
      enum: ['debug', 'info', 'warn', 'error', 'silent'],
      description: 'What is written to standard error, as one JSON object a line.',
      default: 'info',
    },
  },
};
