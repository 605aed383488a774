/** State of a running process and its cgroup, as text files of /proc and of the cgroup file system. */
export interface LiveState {
  /** /proc/PID/status */
  readonly status: string;
  /** /proc/PID/limits */
  readonly limits: string;
  /** /proc/PID/mountinfo */
  readonly mountinfo: string;
  /** /proc/PID/attr/current; undefined when it does not exist. */
  readonly label?: string;
  /** Links of /proc/PID/ns by name. `hostNamespaces` holds those of this process. */
  readonly namespaces: Readonly<Record<string, string>>;
  readonly hostNamespaces: Readonly<Record<string, string>>;
  /**
   * devices.list of its cgroup, version 1. Undefined on version 2, where a BPF program enforces the rules and
   * does not show them.
   */
  readonly devices?: string;
  /** Returns what the container sees at a path; undefined if nothing. */
  readonly resolve: (path: string) => Place | undefined;
}

/** A file or folder that a container sees. */
export interface Place {
  /** Without links. */
  readonly path: string;
  /** The id of the mount that contains it, as in mountinfo. */
  readonly mount: number;
  /** Whether it is the null device, with which runtimes mask files. */
  readonly isNull: boolean;
  /** Whether it is a folder with nothing in it, with which runtimes mask folders. */
  readonly isEmptyFolder: boolean;
}

/** The fields of an OCI configuration that can be read back. */
export interface ReportedState {
  readonly process: {
    readonly capabilities?: Readonly<Record<string, readonly string[]>>;
    readonly rlimits?: readonly { readonly type: string; readonly hard: number | bigint }[];
    readonly noNewPrivileges?: boolean;
    readonly apparmorProfile?: string;
  };
  readonly root: { readonly readonly?: boolean };
  readonly linux: {
    readonly namespaces: readonly { readonly type: string }[];
    readonly seccomp?: unknown;
    readonly maskedPaths?: readonly string[];
    readonly readonlyPaths?: readonly string[];
    readonly resources?: { readonly devices?: readonly DeviceRule[] };
  };
}

interface DeviceRule {
  readonly allow: boolean;
  readonly type?: string;
  readonly major?: number;
  readonly minor?: number;
  readonly access?: string;
}

/** One aspect: as configured or tighter, looser, or unreadable. */
export interface LiveFinding {
  readonly part: string;
  readonly verdict: 'held' | 'looser' | 'unreadable';
  readonly found: string;
}

/**
 * Compares the kernel's state of a container with the runtime's configuration. A process may be tighter than
 * its configuration, never looser. Pure.
 * @param capabilities the names by number, without CAP_
 */
export function heldAgainst(
  reported: ReportedState,
  live: LiveState,
  capabilities: readonly string[],
): LiveFinding[] {
  return [
    ...capabilitySets(reported, live, capabilities),
    flag(
      'no_new_privs',
      reported.process.noNewPrivileges !== true || field(live.status, 'NoNewPrivs') === '1',
      field(live.status, 'NoNewPrivs'),
    ),
    flag(
      'seccomp',
      reported.linux.seccomp === undefined || field(live.status, 'Seccomp') === '2',
      `mode ${field(live.status, 'Seccomp')}`,
    ),
    ...label(reported, live),
    ...namespaces(reported, live),
    ...limits(reported, live),
    ...paths(reported, live),
    ...devices(reported, live),
  ];
}

function flag(part: string, held: boolean, found: string): LiveFinding {
  return { part, verdict: held ? 'held' : 'looser', found };
}

function field(status: string, name: string): string {
  return new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(status)?.[1] ?? '';
}

const SETS = { bounding: 'CapBnd', permitted: 'CapPrm', inheritable: 'CapInh', ambient: 'CapAmb' } as const;

function capabilitySets(
  reported: ReportedState,
  { status }: LiveState,
  names: readonly string[],
): LiveFinding[] {
  return Object.entries(SETS).map(([set, key]) => {
    const bits = BigInt(`0x${field(status, key) || '0'}`);
    const found = names.filter((_, at) => ((bits >> BigInt(at)) & 1n) === 1n);
    const more = found.filter(
      (name) => reported.process.capabilities?.[set]?.includes(`CAP_${name}`) !== true,
    );
    return flag(
      `capabilities, ${set}`,
      more.length === 0,
      more.length === 0 ? found.join(', ') || 'none' : `beyond what was requested: ${more.join(', ')}`,
    );
  });
}

function label(reported: ReportedState, live: LiveState): LiveFinding[] {
  const wanted = reported.process.apparmorProfile;
  if (wanted === undefined) return [];
  const found = live.label?.replace(/\s+\((enforce|kill)\)\s*$/, '').trim() ?? '';
  return [flag('AppArmor', sorted(found) === sorted(wanted), live.label?.trim() ?? 'none')];
}

/** The kernel lists the profiles of a stack by their names, in whatever order they were stacked. */
function sorted(stack: string): string {
  return stack.split('//&').toSorted().join('//&');
}

const LINKS: Readonly<Record<string, string>> = { mount: 'mnt', network: 'net' };

function namespaces(reported: ReportedState, live: LiveState): LiveFinding[] {
  return reported.linux.namespaces.map(({ type }) => {
    const name = LINKS[type] ?? type;
    const found = live.namespaces[name] ?? '';
    return flag(`${type} namespace`, found !== '' && found !== live.hostNamespaces[name], found);
  });
}

const LIMITS: Readonly<Record<string, string>> = {
  AS: 'address space',
  CORE: 'core file size',
  CPU: 'cpu time',
  DATA: 'data size',
  FSIZE: 'file size',
  LOCKS: 'file locks',
  MEMLOCK: 'locked memory',
  MSGQUEUE: 'msgqueue size',
  NICE: 'nice priority',
  NOFILE: 'open files',
  NPROC: 'processes',
  RSS: 'resident set',
  RTPRIO: 'realtime priority',
  RTTIME: 'realtime timeout',
  SIGPENDING: 'pending signals',
  STACK: 'stack size',
};

/** No limit, for the kernel and in a configuration (setrlimit(2)). */
const RLIM_INFINITY = 2n ** 64n - 1n;

function limits(reported: ReportedState, live: LiveState): LiveFinding[] {
  return (reported.process.rlimits ?? []).map(({ type, hard }) => {
    const name = LIMITS[type.replace('RLIMIT_', '')] ?? type;
    const found = new RegExp(`^Max ${name}\\s+\\S+\\s+(\\S+)`, 'm').exec(live.limits)?.[1] ?? '';
    const held = found === 'unlimited' ? RLIM_INFINITY : BigInt(/^\d+$/.exec(found)?.[0] ?? RLIM_INFINITY);
    return flag(type, found !== '' && held <= hard, found);
  });
}

interface MountLine {
  readonly place: string;
  readonly options: readonly string[];
}

/** Returns the mounts of a process by their ids (proc_pid_mountinfo(5)). */
function mountsById(mountinfo: string): ReadonlyMap<number, MountLine> {
  const lines = mountinfo.split('\n').filter((line) => line !== '');
  return new Map(
    lines.map((line) => {
      const [id = '', , , , place = '', options = ''] = line.split(' ');
      return [Number(id), { place: unescaped(place), options: options.split(',') }];
    }),
  );
}

/** Reverses the octal escapes in mountinfo of blanks and other characters (fs/proc_namespace.c, mangle). */
function unescaped(path: string): string {
  return path.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)));
}

/**
 * Compares paths by the mounts in which the process finds them now: a mount that another one hides is still
 * listed, and protects nothing.
 */
function paths(reported: ReportedState, live: LiveState): LiveFinding[] {
  const mounts = mountsById(live.mountinfo);
  const isReadonly = ({ mount }: Place): boolean => mounts.get(mount)?.options.includes('ro') === true;
  // A runtime covers a file with the null device, and a folder with an empty file system, or with an empty
  // folder of the host (newer versions of crun).
  const isMasked = ({ path, mount, isNull, isEmptyFolder }: Place): boolean => {
    const found = mounts.get(mount);
    return found?.place === path && (isNull || (isEmptyFolder && found.options.includes('ro')));
  };
  const finding = (
    part: string,
    of: readonly string[],
    isHeld: (place: Place) => boolean,
    words: { readonly held: string; readonly looser: string },
  ): LiveFinding => {
    // A runtime follows links when it mounts, so that the mount is at the path to which they lead.
    const open = of.filter((path) => {
      const place = live.resolve(path);
      return place !== undefined && !isHeld(place);
    });
    const isTight = open.length === 0;
    return flag(part, isTight, isTight ? words.held : `${words.looser}: ${open.join(', ')}`);
  };
  const { root, linux } = reported;
  return [
    root.readonly === true
      ? finding('root file system', ['/'], isReadonly, { held: 'read-only', looser: 'writable' })
      : flag('root file system', true, 'writable'),
    finding('masked paths', linux.maskedPaths ?? [], isMasked, { held: 'all', looser: 'not masked' }),
    finding('read-only paths', linux.readonlyPaths ?? [], isReadonly, { held: 'all', looser: 'writable' }),
  ];
}

/**
 * Devices that every container has in addition to its configuration (runtime-spec, config-linux.md, "Default
 * Devices").
 */
const DEFAULT_DEVICES = ['c 1:3', 'c 1:5', 'c 1:7', 'c 1:8', 'c 1:9', 'c 5:0', 'c 5:1', 'c 5:2', 'c 136:*'];

function devices(reported: ReportedState, live: LiveState): LiveFinding[] {
  const rules = (reported.linux.resources?.devices ?? []).filter(({ allow }) => allow);
  if (live.devices === undefined)
    return [
      {
        part: 'devices',
        verdict: 'unreadable',
        found: 'cgroup version 2 enforces them with a BPF program, whose rules cannot be read',
      },
    ];
  const covered = (type: string, major: string, minor: string, access: string): boolean =>
    Array.from(access).every((one) =>
      rules.some(
        (rule) =>
          (rule.type === undefined || rule.type === 'a' || rule.type === type) &&
          (rule.major === undefined || rule.major < 0 || String(rule.major) === major) &&
          (rule.minor === undefined || rule.minor < 0 || String(rule.minor) === minor) &&
          (rule.access ?? 'rwm').includes(one),
      ),
    );
  const lines = live.devices.split('\n').filter((line) => line !== '');
  const more = lines.filter((line) => {
    const [, type = '', major = '', minor = '', access = ''] = /^([abc]) (\S+):(\S+) (\w+)$/.exec(line) ?? [];
    return !covered(type, major, minor, access) && !DEFAULT_DEVICES.includes(`${type} ${major}:${minor}`);
  });
  return [
    flag(
      'devices',
      more.length === 0,
      more.length === 0 ? lines.join('; ') : `beyond what was requested: ${more.join('; ')}`,
    ),
  ];
}
