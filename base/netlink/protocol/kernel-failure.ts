import { constants } from 'node:os';
import { PortcullisError, tolerate } from '../../errors/index.ts';

const names = new Map<number, string>(
  Object.entries(constants.errno).map(([name, number]) => [number, name]),
);
// Numbers with two names, and numbers that Node does not name: asm-generic/errno.h and linux/errno.h.
names.set(constants.errno.EAGAIN, 'EAGAIN');
names.set(constants.errno.EOPNOTSUPP, 'EOPNOTSUPP');
names.set(85, 'ERESTART');
names.set(524, 'ENOTSUPP');

/** The request to the kernel, in words: the start of an error message. */
export interface Attempt {
  /** For example "create the link". */
  readonly what: string;
  /** The link, address or table. */
  readonly on: string;
}

/** Returns the name of an errno, such as `EEXIST`. */
export const errnoOf = (errno: number): string => names.get(errno) ?? `ERRNO_${errno}`;

/**
 * Returns the failure of a netlink request: `NETWORK_KERNEL_<ERRNO>`, with the kernel's own words if there
 * are any.
 */
export function kernelRefused(attempt: Attempt, errno: number, words?: string): PortcullisError {
  const name = errnoOf(errno);
  return new PortcullisError({
    code: `NETWORK_KERNEL_${name}`,
    kind: name === 'EPERM' || name === 'EOPNOTSUPP' ? 'precondition' : 'internal',
    attempted: attempt.what,
    on: attempt.on,
    why: words === undefined ? `the kernel answered ${name}` : `the kernel answered ${name}: ${words}`,
    fix:
      fixes[name] ??
      'see the kernel log; `portcullis doctor` lists the kernel features that the network needs',
    details: { errno: name, ...(words === undefined ? {} : { kernel: words }) },
  });
}

/** The kernel refuses a route whose gateway no other route of the link leads to. */
const unreachable =
  'give the route a gateway that is in a subnet of the interface, or to which an earlier route leads';

const fixes: Readonly<Record<string, string>> = {
  EPERM: 'run the daemon with CAP_NET_ADMIN in its network namespace',
  EOPNOTSUPP: 'use a kernel with veth, bridge and nf_tables (bridge, ip, nat, masquerade, fib)',
  ENETUNREACH: unreachable,
  EHOSTUNREACH: unreachable,
  EBUSY: 'try again, because another program changes the same link or table',
};

/** Whether `thrown` is a refusal by the kernel with one of these errno names. */
export function isRefusal(thrown: unknown, ...errnos: readonly string[]): boolean {
  return thrown instanceof PortcullisError && errnos.some((name) => thrown.code === `NETWORK_KERNEL_${name}`);
}

/**
 * Returns the result of `body`, or undefined if the kernel refuses it with one of these errno names.
 * @throws every other error of `body`
 */
export function tolerating<T>(errnos: readonly string[], body: () => T): T | undefined {
  return tolerate((thrown) => isRefusal(thrown, ...errnos), body);
}
