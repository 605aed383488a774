import { globSync, readFileSync } from 'node:fs';
import { attempt } from '../../base/errors/index.ts';
import { landlockVersion } from '../../base/kernel/index.ts';
import type { LimitName } from '../profile/model.ts';

/** Features of this kernel that determine how a profile can be enforced. */
export interface KernelFeatures {
  readonly seccomp: boolean;
  readonly apparmor: boolean;
  /** The version of Landlock's interface; absent or 0: none. */
  readonly landlock?: number;
  /**
   * Hard limits of this process that it may not raise, and so cannot pass on. Absent: any may be raised
   * (CAP_SYS_RESOURCE).
   */
  readonly hardLimits?: Readonly<Partial<Record<LimitName, bigint>>>;
  /** Existing paths for each masked path that contains a `*`. */
  readonly expanded: Readonly<Record<string, readonly string[]>>;
}

const THERMAL = '/sys/devices/system/cpu/cpu*/thermal_throttle';

/**
 * Reads the features of the running kernel, and of this process, from /proc and /sys. Cheap. The result does
 * not change while the process runs.
 */
export function detectKernel(): KernelFeatures {
  const hardLimits = boundLimits(read('/proc/self/status'), read('/proc/self/limits'));
  return {
    seccomp: read('/proc/sys/kernel/seccomp/actions_avail').includes('errno'),
    apparmor: read('/sys/module/apparmor/parameters/enabled').startsWith('Y'),
    landlock: landlockVersion(),
    ...(hardLimits !== undefined && { hardLimits }),
    expanded: { [THERMAL]: globSync(THERMAL).sort() },
  };
}

/** The rlimits by their lines in /proc/PID/limits (fs/proc/base.c, lnames). */
const LIMIT_LINES: readonly (readonly [line: string, name: LimitName])[] = [
  ['Max address space', 'AS'],
  ['Max core file size', 'CORE'],
  ['Max cpu time', 'CPU'],
  ['Max data size', 'DATA'],
  ['Max file size', 'FSIZE'],
  ['Max file locks', 'LOCKS'],
  ['Max locked memory', 'MEMLOCK'],
  ['Max msgqueue size', 'MSGQUEUE'],
  ['Max nice priority', 'NICE'],
  ['Max open files', 'NOFILE'],
  ['Max processes', 'NPROC'],
  ['Max resident set', 'RSS'],
  ['Max realtime priority', 'RTPRIO'],
  ['Max realtime timeout', 'RTTIME'],
  ['Max pending signals', 'SIGPENDING'],
  ['Max stack size', 'STACK'],
];

/** CAP_SYS_RESOURCE (linux/capability.h): a process with it may raise hard limits (setrlimit(2)). */
const SYS_RESOURCE = 24n;

/**
 * Returns the resource limits that bind a process.
 * @param status the content of /proc/PID/status
 * @param limits the content of /proc/PID/limits
 * @returns the finite hard limits of a process that may not raise them; undefined if it may
 */
export function boundLimits(status: string, limits: string): Partial<Record<LimitName, bigint>> | undefined {
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? '0'}`);
  if (((effective >> SYS_RESOURCE) & 1n) === 1n) return undefined;
  const found: Partial<Record<LimitName, bigint>> = {};
  for (const [line, name] of LIMIT_LINES) {
    const hard = new RegExp(`^${line} +\\S+ +(\\d+)`, 'm').exec(limits)?.[1];
    if (hard !== undefined) found[name] = BigInt(hard);
  }
  return found;
}

function read(path: string): string {
  // The file is absent if the kernel lacks the feature.
  return attempt(() => readFileSync(path, 'utf8')) ?? '';
}
