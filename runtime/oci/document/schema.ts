import type { JsonSchema } from '../../../base/schema/index.ts';

const text = { type: 'string' } as const;
const texts = { type: 'array', items: text } as const;
const flag = { type: 'boolean' } as const;
const whole = { type: 'integer' } as const;
const natural = { type: 'integer', minimum: 0 } as const;
const id32 = { type: 'integer', minimum: 0, maximum: 4_294_967_295 } as const;
const absolute = { type: 'string', pattern: '^/' } as const;
const environment = { type: 'array', items: { type: 'string', pattern: '^[^=]+=' } } as const;
const capability = { type: 'array', items: { type: 'string', pattern: '^CAP_[A-Z_]+$' } } as const;
const annotations = { type: 'object', additionalProperties: text, propertyNames: { minLength: 1 } } as const;

const object = (properties: Record<string, unknown>, required: readonly string[] = []): JsonSchema => ({
  type: 'object',
  properties,
  ...(required.length > 0 && { required }),
});
const list = (items: unknown): JsonSchema => ({ type: 'array', items });

const idMapping = object({ containerID: id32, hostID: id32, size: id32 }, ['containerID', 'hostID', 'size']);
const deviceType = { type: 'string', enum: ['a', 'b', 'c', 'u', 'p'] } as const;
const hook = object(
  { path: absolute, args: texts, env: environment, timeout: { type: 'integer', minimum: 1 } },
  ['path'],
);
const weight = { type: 'integer', minimum: 0, maximum: 1000 } as const;
const throttle = list(object({ major: whole, minor: whole, rate: natural }, ['major', 'minor', 'rate']));

const seccompActions = [
  'SCMP_ACT_KILL',
  'SCMP_ACT_KILL_PROCESS',
  'SCMP_ACT_KILL_THREAD',
  'SCMP_ACT_TRAP',
  'SCMP_ACT_ERRNO',
  'SCMP_ACT_TRACE',
  'SCMP_ACT_ALLOW',
  'SCMP_ACT_LOG',
  'SCMP_ACT_NOTIFY',
];
const seccompAction = { type: 'string', enum: seccompActions } as const;
const seccompComparison = ['NE', 'LT', 'LE', 'EQ', 'GE', 'GT', 'MASKED_EQ'].map((name) => `SCMP_CMP_${name}`);

const seccomp = object(
  {
    defaultAction: seccompAction,
    defaultErrnoRet: id32,
    architectures: { type: 'array', items: { type: 'string', pattern: '^SCMP_ARCH_[A-Z0-9_]+$' } },
    flags: { type: 'array', items: { type: 'string', pattern: '^SECCOMP_FILTER_FLAG_[A-Z_]+$' } },
    listenerPath: absolute,
    listenerMetadata: text,
    syscalls: list(
      object(
        {
          names: { type: 'array', items: { type: 'string', minLength: 1 }, minItems: 1 },
          action: seccompAction,
          errnoRet: id32,
          args: list(
            object(
              {
                index: { type: 'integer', minimum: 0, maximum: 5 },
                value: { type: 'number', minimum: 0 },
                valueTwo: { type: 'number', minimum: 0 },
                op: { type: 'string', enum: seccompComparison },
              },
              ['index', 'value', 'op'],
            ),
          ),
        },
        ['names', 'action'],
      ),
    ),
  },
  ['defaultAction'],
);

const resources = object({
  unified: { type: 'object', additionalProperties: text },
  devices: list(
    object(
      {
        allow: flag,
        type: deviceType,
        major: whole,
        minor: whole,
        access: { type: 'string', pattern: '^[rwm]*$' },
      },
      ['allow'],
    ),
  ),
  pids: object({ limit: whole }),
  memory: object({
    ...{ kernel: whole, kernelTCP: whole, limit: whole, reservation: whole, swap: whole },
    swappiness: { type: 'integer', minimum: 0, maximum: 100 },
    ...{ disableOOMKiller: flag, useHierarchy: flag, checkBeforeUpdate: flag },
  }),
  cpu: object({
    ...{ cpus: text, mems: text, period: natural, quota: whole, burst: natural, shares: natural },
    ...{ realtimePeriod: natural, realtimeRuntime: whole, idle: whole },
  }),
  hugepageLimits: list(
    object({ pageSize: { type: 'string', pattern: '^[1-9][0-9]*[KMG]B$' }, limit: natural }, [
      'pageSize',
      'limit',
    ]),
  ),
  blockIO: object({
    ...{ weight, leafWeight: weight },
    weightDevice: list(
      object({ major: whole, minor: whole, weight, leafWeight: weight }, ['major', 'minor']),
    ),
    ...{ throttleReadBpsDevice: throttle, throttleWriteBpsDevice: throttle },
    ...{ throttleReadIOPSDevice: throttle, throttleWriteIOPSDevice: throttle },
  }),
  network: object({
    classID: id32,
    priorities: list(object({ name: text, priority: id32 }, ['name', 'priority'])),
  }),
  rdma: { type: 'object', additionalProperties: object({ hcaHandles: id32, hcaObjects: id32 }) },
});

const linux = object({
  namespaces: list(
    object(
      {
        type: { type: 'string', enum: ['mount', 'pid', 'network', 'uts', 'ipc', 'user', 'cgroup', 'time'] },
        path: absolute,
      },
      ['type'],
    ),
  ),
  ...{ uidMappings: list(idMapping), gidMappings: list(idMapping) },
  timeOffsets: { type: 'object', additionalProperties: object({ secs: whole, nanosecs: id32 }) },
  devices: list(
    object(
      { type: deviceType, path: absolute, fileMode: id32, major: whole, minor: whole, uid: id32, gid: id32 },
      ['type', 'path'],
    ),
  ),
  cgroupsPath: text,
  resources,
  rootfsPropagation: {
    type: 'string',
    enum: ['private', 'shared', 'slave', 'unbindable', 'rprivate', 'rshared', 'rslave', 'runbindable'],
  },
  seccomp,
  sysctl: { type: 'object', additionalProperties: text },
  ...{ maskedPaths: texts, readonlyPaths: texts, mountLabel: text },
  intelRdt: object({
    closID: text,
    l3CacheSchema: text,
    memBwSchema: text,
    schemata: texts,
    enableCMT: flag,
    enableMBM: flag,
  }),
  personality: object({ domain: { type: 'string', enum: ['LINUX', 'LINUX32'] }, flags: texts }),
});

/**
 * The JSON Schema of a Linux container's `config.json`. Unknown fields are accepted, because the
 * specification requires runtimes to ignore them.
 * Source: runtime-spec 1.2, config.md and config-linux.md.
 */
export const ociConfigSchema: JsonSchema = {
  ...object(
    {
      ociVersion: { type: 'string', pattern: '^[0-9]+\\.[0-9]+\\.[0-9]+([-+].+)?$' },
      process: object(
        {
          ...{
            terminal: flag,
            consoleSize: object({ height: natural, width: natural }, ['height', 'width']),
          },
          user: object({ uid: id32, gid: id32, umask: id32, additionalGids: list(id32), username: text }, [
            'uid',
            'gid',
          ]),
          args: { type: 'array', items: text, minItems: 1 },
          ...{
            env: environment,
            cwd: absolute,
            noNewPrivileges: flag,
            apparmorProfile: text,
            selinuxLabel: text,
          },
          capabilities: object(
            Object.fromEntries(
              ['bounding', 'effective', 'permitted', 'inheritable', 'ambient'].map((set) => [
                set,
                capability,
              ]),
            ),
          ),
          rlimits: list(
            object({ type: { type: 'string', pattern: '^RLIMIT_[A-Z]+$' }, soft: natural, hard: natural }, [
              'type',
              'soft',
              'hard',
            ]),
          ),
          oomScoreAdj: { type: 'integer', minimum: -1000, maximum: 1000 },
          scheduler: object(
            {
              policy: text,
              nice: whole,
              priority: whole,
              flags: texts,
              runtime: natural,
              deadline: natural,
              period: natural,
            },
            ['policy'],
          ),
          ioPriority: object({ class: text, priority: { type: 'integer', minimum: 0, maximum: 7 } }, [
            'class',
          ]),
        },
        ['cwd', 'args'],
      ),
      root: object({ path: { type: 'string', minLength: 1 }, readonly: flag }, ['path']),
      ...{ hostname: text, domainname: text, annotations, linux },
      mounts: list(
        object(
          {
            ...{ destination: absolute, type: text, source: text, options: texts },
            uidMappings: list(idMapping),
            gidMappings: list(idMapping),
          },
          ['destination'],
        ),
      ),
      hooks: object(
        Object.fromEntries(
          ['prestart', 'createRuntime', 'createContainer', 'startContainer', 'poststart', 'poststop'].map(
            (name) => [name, list(hook)],
          ),
        ),
      ),
    },
    ['ociVersion', 'root', 'process'],
  ),
};
