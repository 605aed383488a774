import { attribute, attributesOf, u32, zeros } from '../protocol/wire.ts';
import { tolerating } from '../protocol/kernel-failure.ts';
import type { NetlinkSocket, Request } from '../protocol/socket.ts';
import { RTM_GETNSID, RTM_NEWNSID } from './message-numbers.ts';

/**
 * rtnetlink: the numbers by which one network namespace knows others (`ip netns list-id`). A number does not
 * keep a namespace alive: when a namespace ends, its number is unknown until another namespace gets it.
 * Source: linux/net_namespace.h, ip-netns(8).
 */

const NETNSA_NSID = 1;
const NETNSA_FD = 3;
const notAssigned = -1;

const request = (what: string, on: string, type: number, ...attributes: readonly Uint8Array[]): Request => ({
  what,
  on,
  type,
  body: Buffer.concat([zeros(4), ...attributes]), // struct rtgenmsg, padded
});

const find = (fd: number): Request =>
  request('look up the number of the namespace', `fd ${fd}`, RTM_GETNSID, attribute(NETNSA_FD, u32(fd)));

/**
 * Returns the number of the open namespace, and assigns one if it has none.
 * @throws PortcullisError if the kernel assigns no number
 */
export function numberOf(route: NetlinkSocket, fd: number): number {
  const found = read(route, fd);
  if (found !== notAssigned) return found;
  const any = attribute(NETNSA_NSID, u32(notAssigned));
  // Another program, or a link to the namespace, may have been faster.
  tolerating(['EEXIST'], () =>
    route.run([
      request(
        'assign a number to the namespace',
        `fd ${fd}`,
        RTM_NEWNSID,
        any,
        attribute(NETNSA_FD, u32(fd)),
      ),
    ]),
  );
  return read(route, fd);
}

function read(route: NetlinkSocket, fd: number): number {
  const answer = route.ask(find(fd))[0];
  return answer === undefined
    ? notAssigned
    : (attributesOf(answer.body, 4).get(NETNSA_NSID)?.readInt32LE(0) ?? notAssigned);
}

/**
 * Whether a namespace has the number; it may be a different namespace than before. Kernels before 4.20 cannot
 * report this, and then the answer is true.
 */
export function isGiven(route: NetlinkSocket, number: number): boolean {
  const asked = request(
    'look up the namespace of the number',
    String(number),
    RTM_GETNSID,
    attribute(NETNSA_NSID, u32(number)),
  );
  const [outcome] = route.exchange([asked]);
  return outcome?.refused?.errno !== 'ENOENT';
}
