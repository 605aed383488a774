import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { bindTcp, bindUdp, closeFd } from '../../base/kernel/index.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import { ipBytes, parseIp } from '../spec/address.ts';
import type { PortMapping } from '../types.ts';

/** A port of the host. */
export interface HostEnd {
  readonly protocol: PortMapping['protocol'];
  readonly port: number;
  /** Empty: every address. */
  readonly hostIp: string;
}

/**
 * Whether a program serves a host port in the network namespace of the calling thread, at whichever address where none is given. Published all the
 * same, the port would be taken from the program without a word; docker's own driver refuses it as well. Local ports of outgoing connections are free:
 * what answers them is no new connection. Synchronous: asked by a bind that ends at once; the kernel's list of sockets is read only where it fails.
 */
export function isListenedAt({ protocol, port, hostIp }: HostEnd): boolean {
  if (protocol === 'sctp') return sctpPorts().has(port);
  const isTaken = (address: string): boolean => bindFailure(protocol, port, address) === inUse;
  const isHeld = (addresses: readonly string[]): boolean => addresses.some(isTaken) && isServed(protocol, port);
  if (hostIp === '') return isHeld(wildcards);
  const failure = bindFailure(protocol, port, hostIp);
  if (failure === undefined) return false;
  if (failure === inUse) return isServed(protocol, port);
  // No address that a socket can have now: a floating address that another host has may come, a link-local one lacks its link. Who listens at every
  // address of the family would get its connections.
  return isHeld(wildcards.filter((address) => address.includes(':') === (parseIp(hostIp)?.family === 6)));
}

const wildcards = ['0.0.0.0', '::'] as const;
const inUse = 'KERNEL_EADDRINUSE';

/** The code of the error; undefined: the address and port are free. */
function bindFailure(protocol: 'tcp' | 'udp', port: number, text: string): string | undefined {
  const address = parseIp(text);
  if (address === undefined) return 'KERNEL_EADDRNOTAVAIL';
  const end = { address: ipBytes(address), port };
  try {
    closeFd(protocol === 'tcp' ? bindTcp(end) : bindUdp(end, 0));
    return undefined;
  } catch (thrown) {
    if (isPortcullisError(thrown)) return thrown.code;
    throw thrown;
  }
}

/** Of a port that cannot be bound. What no list explains, such as a socket that is bound and does not listen yet, counts as served. */
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
 * Of rows of /proc/net/tcp or udp (proc_net_tcp.rst): TCP serves in the state LISTEN, UDP without a peer. Reads no further than the first server; the
 * kernel lists the sockets that listen first. Pure.
 */
export function portUse(protocol: 'tcp' | 'udp', port: number, rows: Iterable<string>): 'server' | 'client' | undefined {
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

/** A busy host has many megabytes of them: read piece by piece. None where the kernel lacks the protocol. */
function* linesOf(path: string): Generator<string> {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return;
  }
  try {
    const piece = Buffer.alloc(65_536);
    let rest = '';
    for (let length = readSync(fd, piece); length > 0; length = readSync(fd, piece)) {
      const lines = (rest + piece.toString('latin1', 0, length)).split('\n');
      rest = lines.pop() ?? '';
      yield* lines;
    }
  } finally {
    closeSync(fd);
  }
}

/** Node has no SCTP; the kernel lists its endpoints. Empty where it has none either. */
function sctpPorts(): ReadonlySet<number> {
  try {
    return sctpPortsIn(readFileSync('/proc/thread-self/net/sctp/eps', 'utf8'));
  } catch {
    return new Set();
  }
}

/** Local ports of /proc/net/sctp/eps: the sixth column (net/sctp/proc.c, `sctp_eps_seq_show`). Pure. */
export function sctpPortsIn(text: string): ReadonlySet<number> {
  const rows = text.split('\n').slice(1);
  return new Set(rows.map((row) => Number(row.trim().split(/\s+/u)[5])).filter((port) => Number.isInteger(port) && port > 0));
}
