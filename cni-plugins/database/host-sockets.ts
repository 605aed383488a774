import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { bindTcp, bindUdp, closeFd } from '../../base/kernel/index.ts';
import { isPortcullisError, leavesUnknown, meansGone } from '../../base/errors/index.ts';
import { ipBytes, parseIp } from '../../base/addresses/index.ts';
import type { PortMapping } from '../types.ts';

/** A port of the host. */
export interface HostEnd {
  readonly protocol: PortMapping['protocol'];
  readonly port: number;
  /** Empty: every address. */
  readonly hostIp: string;
}

/**
 * Returns whether a program serves a host port in the network namespace of the calling thread; without an
 * address, at any address. If such a port were published, the program would silently lose its connections;
 * docker's own driver refuses it as well. Local ports of outgoing connections count as free, because replies
 * to them are not new connections. Synchronous: the check is a bind that is closed at once. The kernel's list
 * of sockets is read only if the bind fails.
 * @throws KERNEL_… or the error of the file system if it is unknown, such as without a free descriptor
 */
export function isListenedAt({ protocol, port, hostIp }: HostEnd): boolean {
  if (protocol === 'sctp') return sctpPorts().has(port);
  const isTaken = (address: string): boolean => bindFailure(protocol, port, address) === inUse;
  const isHeld = (addresses: readonly string[]): boolean =>
    addresses.some(isTaken) && isServed(protocol, port);
  if (hostIp === '') return isHeld(wildcards);
  const failure = bindFailure(protocol, port, hostIp);
  if (failure === undefined) return false;
  if (failure === inUse) return isServed(protocol, port);
  // No socket can have this address now: a floating address that another host has may arrive later, or a
  // link-local address lacks its link. A program that listens at every address of the family would receive
  // its connections.
  return isHeld(wildcards.filter((address) => address.includes(':') === (parseIp(hostIp)?.family === 6)));
}

const wildcards = ['0.0.0.0', '::'] as const;
const inUse = 'KERNEL_EADDRINUSE';

/** Returns the code of the error, or undefined if address and port are free. */
function bindFailure(protocol: 'tcp' | 'udp', port: number, text: string): string | undefined {
  const address = parseIp(text);
  if (address === undefined) return 'KERNEL_EADDRNOTAVAIL';
  const end = { address: ipBytes(address), port };
  try {
    closeFd(protocol === 'tcp' ? bindTcp(end) : bindUdp(end, 0));
    return undefined;
  } catch (thrown) {
    // Without a descriptor or memory nothing is known about the port.
    if (!isPortcullisError(thrown) || leavesUnknown(thrown)) throw thrown;
    return thrown.code;
  }
}

/**
 * Returns whether a port that cannot be bound is served. If no list explains the failure, such as for a
 * socket that is bound but does not listen yet, the port counts as served.
 */
function isServed(protocol: 'tcp' | 'udp', port: number): boolean {
  let isClients = false;
  // Programs that listen on both families are listed with IPv6.
  for (const file of [`${protocol}6`, protocol]) {
    const found = portUse(protocol, port, linesOf(`/proc/thread-self/net/${file}`));
    if (found === 'server') return true;
    isClients ||= found === 'client';
  }
  return !isClients;
}

/**
 * Classifies rows of /proc/net/tcp or udp (proc_net_tcp.rst): a TCP socket in the state LISTEN and a UDP
 * socket without a peer are servers. Stops at the first server; the kernel lists listening sockets first.
 * Pure.
 */
export function portUse(
  protocol: 'tcp' | 'udp',
  port: number,
  rows: Iterable<string>,
): 'server' | 'client' | undefined {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  let found: 'client' | undefined;
  for (const row of rows) {
    const [, local = '', remote = '', state] = row.trim().split(/\s+/u, 4);
    if (!local.endsWith(suffix)) continue;
    if (protocol === 'tcp' ? state === '0A' : /^0+:0000$/u.test(remote)) return 'server';
    found = 'client';
  }
  return found;
}

/**
 * Reads the file piece by piece, because a busy host has many megabytes. Yields nothing if the kernel lacks
 * the protocol.
 */
function* linesOf(path: string): Generator<string> {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (thrown) {
    if (!meansGone(thrown)) throw thrown;
    return;
  }
  using opened = new DisposableStack();
  opened.defer(() => closeSync(fd));
  const piece = Buffer.alloc(65_536);
  let rest = '';
  for (let length = readSync(fd, piece); length > 0; length = readSync(fd, piece)) {
    const lines = (rest + piece.toString('latin1', 0, length)).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
}

/**
 * Node does not support SCTP, so the kernel's list of endpoints is read. Empty if the kernel lacks SCTP as
 * well.
 */
function sctpPorts(): ReadonlySet<number> {
  try {
    return sctpPortsIn(readFileSync('/proc/thread-self/net/sctp/eps', 'utf8'));
  } catch (thrown) {
    if (!meansGone(thrown)) throw thrown;
    return new Set();
  }
}

/**
 * Returns the local ports of /proc/net/sctp/eps: the sixth column (net/sctp/proc.c, `sctp_eps_seq_show`).
 * Pure.
 */
export function sctpPortsIn(text: string): ReadonlySet<number> {
  const rows = text.split('\n').slice(1);
  return new Set(
    rows
      .map((row) => Number(row.trim().split(/\s+/u)[5]))
      .filter((port) => Number.isInteger(port) && port > 0),
  );
}
