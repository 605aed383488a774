import { LIMIT_NAMES } from '../profile/sets.ts';
import type { LimitName, ResourceName } from '../profile/model.ts';
import { readCount, readCpu, readSize } from '../profile/values.ts';
import type { Read } from '../profile/values.ts';
import type { Entitlement } from './entitlement.ts';

interface Bound {
  readonly title: string;
  readonly form: 'BYTES' | 'COUNT' | 'CPUS';
  readonly example: string;
  /** The least value. Default: 0. */
  readonly least?: bigint;
}

const bytes = (title: string, example = '64Mi'): Bound => ({ title, form: 'BYTES', example });
const count = (title: string, example = '1024'): Bound => ({ title, form: 'COUNT', example });

/**
 * The resources that a container's cgroup limits. For an OCI runtime, a limit of 0 on memory or processes
 * means no limit.
 */
export const RESOURCE_BOUNDS: Readonly<Record<ResourceName, Bound>> = {
  cpu: { title: 'Processor time, in CPUs', form: 'CPUS', example: '500m' },
  memory: { ...bytes('Memory', '512Mi'), least: 1n },
  pids: { ...count('Processes and threads', '100'), least: 1n },
  swap: bytes('Swap, beside the memory', '0'),
};

/** The rlimits of getrlimit(2). */
export const LIMIT_BOUNDS: Readonly<Record<LimitName, Bound>> = {
  AS: bytes('Address space of a process', '4Gi'),
  CORE: bytes('Size of a core dump', '0'),
  CPU: count('Seconds of processor time of a process', '60'),
  DATA: bytes('Data segment of a process'),
  FSIZE: bytes('Size of a file that is written', '1Gi'),
  LOCKS: count('File locks; not enforced since Linux 2.4', '100'),
  MEMLOCK: bytes('Memory that may be locked'),
  MSGQUEUE: bytes('POSIX message queues of the user', '800Ki'),
  NICE: count('Highest priority, as 20 minus the nice value', '20'),
  NOFILE: count('Open files of a process'),
  NPROC: count('Processes of the user'),
  RSS: bytes('Resident memory; not enforced since Linux 2.4'),
  RTPRIO: count('Highest real-time priority', '0'),
  RTTIME: count('Microseconds of processor time of a real-time process that does not block', '200000'),
  SIGPENDING: count('Pending signals of the user', '1000'),
  STACK: bytes('Stack of a process', '8Mi'),
};

/** Reads a value in the unit of a limit. */
export function readBound(bound: Bound, written: unknown): Read<bigint> {
  const found =
    bound.form === 'BYTES'
      ? readSize(written)
      : bound.form === 'CPUS'
        ? readCpu(written)
        : readCount(written);
  if ('problem' in found || found.value >= (bound.least ?? 0n)) return found;
  return {
    problem: `no process can run with ${JSON.stringify(written)}`,
    fix: `write ${bound.least} or more`,
  };
}

function entry(
  key: string,
  bound: Bound,
  excludes: (value: bigint) => NonNullable<Entitlement['excludes']>,
  probe: string,
): Entitlement {
  return {
    name: `resources.${key}`,
    title: `${bound.title}: no more than this`,
    risk: 'low',
    grants: {},
    argument: {
      form: bound.form,
      example: bound.example,
      read: (text) => {
        const found = readBound(bound, text);
        return 'problem' in found
          ? { problem: `${found.problem}; ${found.fix}` }
          : { grants: {}, excludes: excludes(found.value) };
      },
    },
    tests: { allows: [`${probe} within`], denies: [`${probe} beyond`] },
  };
}

/** `resources.memory=512Mi`, `resources.nofile=1024` … */
export const RESOURCE_ENTITLEMENTS: readonly Entitlement[] = [
  ...(Object.keys(RESOURCE_BOUNDS) as ResourceName[]).map((name) =>
    entry(name, RESOURCE_BOUNDS[name], (value) => ({ resources: { [name]: value } }), `resource ${name}`),
  ),
  // The cgroup's cpu limits the speed, the rlimit limits the time.
  ...LIMIT_NAMES.map((name) =>
    entry(
      name === 'CPU' ? 'cputime' : name.toLowerCase(),
      LIMIT_BOUNDS[name],
      (value) => ({ limits: { [name]: { soft: value, hard: value } } }),
      `limit ${name}`,
    ),
  ),
];
