import { errnoName } from '../../base/kernel/index.ts';
import type { Limit, LimitName, ResourceName } from '../profile/model.ts';
import { RLIM_INFINITY } from '../profile/values.ts';
import { boundsFollowFromMask, maxOf } from '../seccomp/argument-test.ts';
import type { ArgumentTest } from '../seccomp/argument-test.ts';
import type { Clause } from '../seccomp/clause.ts';
import { constantName, constantsOf } from '../seccomp/constants.ts';
import { errnoOf } from '../seccomp/outcome.ts';
import type { Outcome } from '../seccomp/outcome.ts';

/** linux/socket.h */
const AF_NETLINK = 16n;

/** Returns an outcome with the name of its errno: `EPERM` for `errno 1`. */
export function outcomeText(outcome: Outcome): string {
  const number = errnoOf(outcome);
  return number === undefined ? outcome : errnoName(number);
}

/**
 * Returns the name of an argument's value, or its number. A socket's protocol has different names in
 * AF_NETLINK than in other families.
 * @param family the first argument, if it is known
 */
export function valueText(name: string, index: number, value: bigint, family: bigint | undefined): string {
  const netlink = index === 2 && (name === 'socket' || name === 'socketpair') && family === AF_NETLINK;
  const special = [...constantsOf(name, index)].find(
    ([known, constant]) => constant === value && known.startsWith('NETLINK_'),
  )?.[0];
  return (netlink ? special : constantName(name, index, value)) ?? numberText(value);
}

function numberText(value: bigint): string {
  return value < 1000n ? value.toString() : `0x${value.toString(16)}`;
}

/** Returns a condition on the arguments of a system call with the names of the kernel's headers. */
export function clauseText(name: string, when: Clause): string {
  const first = when.find(({ index }) => index === 0);
  const family = first?.low === first?.high ? first?.low : undefined;
  return when.length === 0 ? 'any arguments' : when.map((test) => testText(name, test, family)).join(' and ');
}

function testText(name: string, test: ArgumentTest, family: bigint | undefined): string {
  const { index, low, high, mask, value } = test;
  const text = (of: bigint): string => valueText(name, index, of, family);
  const argument = `arg${index}`;
  if (low === high) return `${argument} = ${text(low)}`;
  const parts: string[] = [];
  if (mask !== 0n) {
    // Bits that must be set, and bits that must not be set.
    if (value !== 0n) parts.push(`${argument} has ${text(value)}`);
    if (value !== mask) parts.push(`${argument} has none of ${text(mask & ~value).replaceAll('|', ', ')}`);
  }
  if (!boundsFollowFromMask(test)) {
    // Names have no order that a reader knows, so a range also has their numbers.
    const end = (of: bigint): string =>
      text(of) === numberText(of) ? text(of) : `${text(of)} (${numberText(of)})`;
    if (low === 0n) parts.push(`${argument} up to ${end(high)}`);
    else if (high === maxOf(test.width)) parts.push(`${argument} from ${end(low)}`);
    else parts.push(`${argument} from ${end(low)} to ${end(high)}`);
  }
  return parts.join(' and ');
}

/** The unit of each rlimit (getrlimit(2)). */
const LIMIT_UNITS: Readonly<Record<LimitName, string>> = {
  AS: 'bytes',
  CORE: 'bytes',
  CPU: 's of CPU time',
  DATA: 'bytes',
  FSIZE: 'bytes',
  LOCKS: 'locks',
  MEMLOCK: 'bytes',
  MSGQUEUE: 'bytes',
  NICE: '(20 minus the nice value)',
  NOFILE: 'open files',
  NPROC: 'processes of a user',
  RSS: 'bytes',
  RTPRIO: '(real-time priority)',
  RTTIME: 'µs of real-time CPU time',
  SIGPENDING: 'pending signals',
  STACK: 'bytes',
};

/**
 * Returns an rlimit with its unit: `NOFILE 1024 open files (the program may raise it to 4096 open files)`.
 */
export function limitText(name: LimitName, { soft, hard }: Limit): string {
  const amount = (value: bigint): string => {
    if (value === RLIM_INFINITY) return 'unlimited';
    return LIMIT_UNITS[name] === 'bytes' ? bytesText(value) : `${value} ${LIMIT_UNITS[name]}`;
  };
  return `${name} ${amount(soft)}${soft === hard ? '' : ` (the program may raise it to ${amount(hard)})`}`;
}

/** Returns a limit of the cgroup with its unit. */
export function resourceText(name: ResourceName, bound: bigint): string {
  if (name === 'cpu') return `cpu ${Number(bound) / 1000} CPUs`;
  return `${name} ${name === 'pids' ? `${bound} processes and threads` : bytesText(bound)}`;
}

/** Returns bytes exactly, in the largest unit of which they are a multiple. */
function bytesText(bytes: bigint): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let at = 0;
  let left = bytes;
  for (; left !== 0n && left % 1024n === 0n && at < units.length - 1; at++) left /= 1024n;
  return `${left} ${units[at] ?? ''}`;
}
