import type { Capability } from '../types.ts';
import { argumentTest } from './argument-test.ts';
import { clause } from './clause.ts';
import type { Clause } from './clause.ts';
import { argumentWidth } from './syscalls.ts';

/** A capability without which the kernel refuses calls, whatever else their arguments point to. */
export interface RequiredCapability {
  readonly capability: Capability;
  /**
   * own: a process has it too in a user namespace that it makes. initial: only a process of the host's user
   * namespace can have it.
   */
  readonly within: 'initial' | 'own';
  /** The calls that need it; empty: all. */
  readonly when: Clause;
}

/**
 * The calls that Linux refuses for all arguments without the capability. Not here: calls that some arguments,
 * settings or newer kernels permit without it, such as bpf, clock_settime of /dev/ptp*, ioperm, setns and
 * open_by_handle_at of a pidfd.
 */
const OF_WHOLE_CALLS: ReadonlyMap<string, readonly [Capability, RequiredCapability['within']]> = new Map([
  ['acct', ['SYS_PACCT', 'initial']],
  ['chroot', ['SYS_CHROOT', 'own']],
  ['delete_module', ['SYS_MODULE', 'initial']],
  ['finit_module', ['SYS_MODULE', 'initial']],
  ['init_module', ['SYS_MODULE', 'initial']],
  ['kexec_file_load', ['SYS_BOOT', 'initial']],
  ['kexec_load', ['SYS_BOOT', 'initial']],
  ['mount', ['SYS_ADMIN', 'own']],
  ['pivot_root', ['SYS_ADMIN', 'own']],
  ['reboot', ['SYS_BOOT', 'own']],
  ['setdomainname', ['SYS_ADMIN', 'own']],
  ['setgroups', ['SETGID', 'own']],
  ['sethostname', ['SYS_ADMIN', 'own']],
  ['settimeofday', ['SYS_TIME', 'initial']],
  ['swapoff', ['SYS_ADMIN', 'initial']],
  ['swapon', ['SYS_ADMIN', 'initial']],
  ['umount2', ['SYS_ADMIN', 'own']],
  ['vhangup', ['SYS_TTY_CONFIG', 'initial']],
]);

/** linux/socket.h, linux/net.h; the upper bits of the type are flags. */
const [AF_INET, AF_INET6, AF_PACKET] = [2n, 10n, 17n];
const [SOCK_RAW, SOCK_TYPE_MASK] = [3n, 0xfn];

/** packet(7), raw(7) */
const RAW_SOCKETS: readonly Clause[] = [
  socketClause(AF_PACKET),
  ...[AF_INET, AF_INET6].map((family) => socketClause(family, SOCK_RAW)),
];

function socketClause(family: bigint, type?: bigint): Clause {
  const tests = [
    argumentTest(0, argumentWidth('socket', 0), { low: family, high: family }),
    type === undefined
      ? undefined
      : argumentTest(1, argumentWidth('socket', 1), { mask: SOCK_TYPE_MASK, value: type }),
  ];
  return clause(tests.filter((test) => test !== undefined));
}

/** Returns the capabilities without which the kernel refuses a call, or some calls of it. */
export function requiredCapabilities(call: string): readonly RequiredCapability[] {
  if (call === 'socket') return RAW_SOCKETS.map((when) => ({ capability: 'NET_RAW', within: 'own', when }));
  const found = OF_WHOLE_CALLS.get(call);
  return found === undefined ? [] : [{ capability: found[0], within: found[1], when: [] }];
}
