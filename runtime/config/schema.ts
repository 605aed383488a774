import type { ConfigSchema } from './config-schema.ts';
import { sizePattern } from './bytes.ts';
import { checkpointSchema } from './checkpoint-schema.ts';
import { clusterSchema } from './cluster-schema.ts';
import { enforcementSchema } from './enforcement-schema.ts';
import { imagesSchema } from './images-schema.ts';
import { networkSchema } from './network-schema.ts';
import { auditSchema, fleetSchema, metricsSchema, tracingSchema } from './observability-schema.ts';
import { nriSchema } from './nri-schema.ts';
import { policySubscriptionSchema } from './policy-schema.ts';
import { registriesSchema } from './registries-schema.ts';
import { streamingSchema } from './streaming-schema.ts';

export const defaultConfigFile = '/etc/portcullis/config.yaml';

/** The OCI runtimes of a configuration that does not name any. */
export const defaultRuntimes = { crun: { path: '/usr/bin/crun' }, runc: { path: '/usr/sbin/runc' } } as const;

const path = { type: 'string', format: 'path', minLength: 1, maxLength: 4096 } as const;
const size = { type: 'string', pattern: sizePattern } as const;
const ids = {
  type: 'array',
  items: { type: 'integer', minimum: 0, maximum: 4_294_967_294 },
  uniqueItems: true,
  default: [],
} as const;

/** The schema of `config.yaml` (JSON Schema, draft 2020-12). Paths in the file are relative to its folder. */
export const configSchema: ConfigSchema = {
  type: 'object',
  description: 'Configuration of the Portcullis daemon.',
  additionalProperties: false,
  properties: {
    $schema: {
      type: 'string',
      description: 'URL or path of this schema, for editors. The daemon ignores it.',
    },
    socket: {
      ...path,
      description:
        'Unix socket of the CRI endpoint, mode 0660, owned by root. A path, with or without `unix://`.',
      default: '/run/portcullis/portcullis.sock',
    },
    peers: {
      type: 'object',
      description:
        'Users and groups, in addition to root, that may connect to the socket. Every connection is checked, and logged with the peer credentials that the kernel reports.',
      additionalProperties: false,
      properties: {
        uids: { ...ids, description: 'User ids that may connect.' },
        gids: {
          ...ids,
          description: 'Primary group ids that may connect. The socket file belongs to the first of them.',
        },
      },
    },
    root: {
      ...path,
      description:
        'Folder of persistent state, mode 0700: images, evidence, the database and the verdict log.',
      default: '/var/lib/portcullis',
    },
    state: {
      ...path,
      description: 'Folder of state that does not survive a reboot: pinned namespaces, bundles and mounts.',
      default: '/run/portcullis',
    },
    policy: {
      type: 'array',
      description:
        'Files, and folders of files, with trust policies and entitlement profiles. If there is no policy, everything new is denied.',
      items: path,
      uniqueItems: true,
      default: ['/etc/portcullis/policy'],
    },
    policySubscription: policySubscriptionSchema,
    cluster: clusterSchema,
    cni: {
      type: 'object',
      description: 'Folders of network configurations and CNI plugins.',
      additionalProperties: false,
      properties: {
        confDir: {
          ...path,
          description:
            'Folder of CNI configurations. The first one by name is used, or the first `network.maxConfigs`.',
          default: '/etc/cni/net.d',
        },
        binDirs: {
          type: 'array',
          description: 'Folders of CNI plugins. They are searched in this order.',
          items: path,
          minItems: 1,
          uniqueItems: true,
          default: ['/opt/cni/bin', '/usr/lib/cni'],
        },
        socket: {
          ...path,
          description:
            'Unix socket, mode 0600, through which the plugins that `portcullis cni install` installs reach the daemon. If omitted, `cni.sock` in the folder `state`.',
        },
      },
    },
    network: networkSchema,
    registries: registriesSchema,
    images: imagesSchema,
    runtimes: {
      type: 'object',
      description: 'OCI runtimes and shims by handler name. A pod selects a handler by its RuntimeClass.',
      minProperties: 1,
      propertyNames: { pattern: '^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$' },
      additionalProperties: {
        type: 'object',
        additionalProperties: false,
        required: ['path'],
        properties: {
          path: { ...path, description: 'Path of the program: an OCI runtime, or a shim.' },
          type: {
            type: 'string',
            enum: ['oci', 'shim'],
            description:
              'The type of the program: an OCI runtime with its command line (`oci`, if omitted), or a shim of containerd’s runtime v2 (`shim`), such as `containerd-shim-runsc-v1`.',
          },
          runtimePath: {
            ...path,
            description:
              'Path of the OCI runtime that a shim runs. If omitted, the shim looks for it in `PATH`.',
          },
          configPath: {
            ...path,
            description: 'Path of the configuration file of a shim, in its own format.',
          },
          writableCgroups: {
            type: 'boolean',
            description:
              'Whether containers may create cgroups below their own, without asking for it. Also needs a ceiling with `kernel.cgroups`, and cgroup version 2 with `nsdelegate`. Only for OCI runtimes.',
          },
        },
      },
      default: defaultRuntimes,
    },
    defaultRuntime: {
      type: 'string',
      minLength: 1,
      description: 'Handler of a pod that does not name a handler. It must be a key of `runtimes`.',
      default: 'crun',
    },
    cgroupDriver: {
      type: 'string',
      enum: ['auto', 'cgroupfs', 'systemd'],
      description:
        'How cgroups are created: by the OCI runtime itself (`cgroupfs`), or by systemd at its request (`systemd`). `auto` selects systemd if systemd is process 1. A kubelet asks for this setting and uses the same driver.',
      default: 'auto',
    },
    cgroupFavorDynmods: {
      type: 'boolean',
      description:
        'Whether the kernel locks only the process that enters a cgroup, instead of waiting for every processor of the machine (the mount option favordynmods). The daemon sets the option on Linux 6.18 and later, until the next boot. It does not change older kernels.',
      default: true,
    },
    streaming: streamingSchema,
    namespacePool: {
      type: 'integer',
      minimum: 0,
      maximum: 64,
      description:
        'Number of sets of pinned namespaces that are kept ready for the next pods. With 0, each set is created when a pod needs it.',
      default: 4,
    },
    kubeletRoot: {
      ...path,
      description:
        'Root folder of the kubelet. Files below `pods/UID` belong to that pod. A mount of any other path of the host needs a ceiling that grants `host.paths`.',
      default: '/var/lib/kubelet',
    },
    cdi: {
      type: 'object',
      description: 'Container Device Interface (CDI): devices that a driver describes in files.',
      additionalProperties: false,
      properties: {
        specDirs: {
          type: 'array',
          description:
            'Folders of CDI specs. A later folder takes precedence. Files that a user other than root can change are ignored.',
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
            'Whether devices that a container requests belong to its run_as_user and run_as_group in the container. Otherwise they keep their owner on the host.',
          default: false,
        },
      },
    },
    shm: {
      type: 'object',
      description: 'Shared memory (/dev/shm) of the containers of a pod.',
      additionalProperties: false,
      properties: {
        size: {
          ...size,
          description: 'Size of /dev/shm, such as `64Mi`. Its content counts as memory of the pod.',
          default: '64Mi',
        },
        limit: {
          ...size,
          description:
            'Maximum size, such as `1Gi`, that a pod may request by the annotation `portcullis.dev/shm-size`.',
          default: '1Gi',
        },
      },
    },
    sysctls: {
      type: 'object',
      description:
        'Sysctls that every pod gets in the namespaces that it does not share with the host, by name, such as `net.core.somaxconn`. A sysctl of the pod takes precedence. No ceiling restricts these values. If the kubelet has `defaultPodSysctls`, set the same values here, because a ceiling would refuse those that are not safe.',
      maxProperties: 64,
      propertyNames: {
        pattern:
          '^(net(\\.[a-zA-Z0-9_:@/-]+)+|kernel\\.((shm|msg|sem)[a-z_]*|domainname)|fs\\.mqueue\\.[a-z_]+)$',
      },
      additionalProperties: { type: 'string', maxLength: 256, pattern: '^[ -*,-<>-~\\t]*$' },
      default: {},
    },
    logs: {
      type: 'object',
      description: 'Rotation of container logs on a machine where no kubelet rotates them.',
      additionalProperties: false,
      properties: {
        maxSize: {
          ...size,
          description:
            'Size, such as `10Mi`, above which a log is rotated. The daemon checks sizes every ten seconds. With 0, the daemon rotates no logs, because the kubelet does.',
          default: '0',
        },
        maxFiles: {
          type: 'integer',
          minimum: 2,
          maximum: 1000,
          description:
            'Number of log files that are kept for each container, including the current one. The oldest file is removed.',
          default: 5,
        },
      },
    },
    storage: {
      type: 'object',
      description: 'The image store.',
      additionalProperties: false,
      properties: {
        layers: {
          type: 'string',
          enum: ['auto', 'erofs', 'folders'],
          description:
            'The form of new layers: one EROFS file for each layer, which the kernel mounts, or a folder with the files of the layer. `auto` selects EROFS where the kernel mounts such files (Linux 6.4 and later). With `erofs`, the daemon does not start where the kernel does not mount them. Layers that are stored already keep their form.',
          default: 'auto',
        },
        checkDays: {
          type: 'integer',
          minimum: 0,
          maximum: 3650,
          description:
            'Number of days from one check of all stored layers to the next one. The check compares them with what was verified, in the background: at low priority, and at most 32 MiB/s. It skips layers that fs-verity protects, because the kernel compares them at each read. With 0, layers are checked after an unclean stop, and by `portcullis images check`. See docs/image-files.md.',
          default: 30,
        },
      },
    },
    writableLayer: {
      type: 'object',
      description: 'Limits of the data that containers write into their root file system.',
      additionalProperties: false,
      properties: {
        size: {
          ...size,
          description:
            'Maximum size, such as `10Gi`, of the data that each container may write. A pod may request less by the annotation `portcullis.dev/rootfs-size`. With 0, only the pod’s own limit applies. The limit needs project quotas on the file system of `root`; without them, Status reports that the limit is not enforced.',
          default: '0',
        },
      },
    },
    strict: {
      type: 'boolean',
      description:
        'Whether OCI runtimes with known open vulnerabilities are refused, also as the runtime of a shim. Otherwise they run behind checks.',
      default: false,
    },
    metrics: metricsSchema,
    tracing: tracingSchema,
    fleet: fleetSchema,
    nri: nriSchema,
    checkpoint: checkpointSchema,
    audit: auditSchema,
    verdicts: {
      type: 'object',
      description:
        'Log of verdicts, and the treatment of running containers that the policy in force no longer admits. See docs/verdicts.md.',
      additionalProperties: false,
      properties: {
        outOfPolicy: {
          type: 'string',
          enum: ['report', 'stop'],
          description:
            'The action on a running container whose image the policy in force denies. `report` reports it by an event, a metric and a log line. `stop` also stops it, with a grace period of 30 seconds.',
          default: 'report',
        },
        retentionDays: {
          type: 'integer',
          minimum: 0,
          maximum: 36_500,
          description:
            'Number of days after which the texts of verdicts, dossiers and policies are deleted if nothing refers to them any more. The rows of the log stay, and a new row records what was deleted. With 0, texts are never deleted.',
          default: 730,
        },
      },
    },
    enforcement: enforcementSchema,
    logLevel: {
      type: 'string',
      enum: ['debug', 'info', 'warn', 'error', 'silent'],
      description:
        'Lowest level of the log lines that are written to standard error, as one JSON object per line.',
      default: 'info',
    },
  },
};
