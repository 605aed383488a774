import { assembleExecutable, callWith } from '../../base/elf/index.ts';
import type { Machine, Place } from '../../base/elf/index.ts';
import { ipTextBytes } from '../../base/addresses/index.ts';

const AF_INET = 2;
const AF_INET6 = 10;
/** SOCK_DGRAM | SOCK_NONBLOCK */
const datagrams = 2 | 0o4000;

const targets: Readonly<
  Record<
    Machine,
    Readonly<Record<'socket' | 'connect' | 'bind' | 'read' | 'write' | 'ppoll' | 'exitGroup', number>>
  >
> = {
  x86_64: { socket: 41, connect: 42, bind: 49, read: 0, write: 1, ppoll: 271, exitGroup: 231 },
  aarch64: { socket: 198, connect: 203, bind: 200, read: 63, write: 64, ppoll: 73, exitGroup: 94 },
};

/** Everything is sent to this port. */
export const port = 7777;

/** Exit codes of the program. */
export const nothingArrived = 0;
export const somethingArrived = 1;

/** How often the program sends to each endpoint and looks for arrivals, and the pause after each time. */
const turns = 150;
const pauseNanoseconds = 200_000n;

/**
 * Returns a program that sends a word to each address from its first instructions on. It ends with
 * {@link somethingArrived} at the first datagram that reaches it, or with {@link nothingArrived} after about
 * 50 ms. It exits with 2 if it has no sockets. Pure.
 */
export function senderProgram(machine: Machine, word: string, endpoints: readonly string[]): Buffer {
  const calls = targets[machine];
  return assembleExecutable(machine, (a, { put }) => {
    const payload = put(Buffer.from(word));
    const own = [socketAddress('0.0.0.0'), socketAddress('::')].map(put);
    const others = endpoints.map((address) => put(socketAddress(address)));
    // struct timespec
    const pause = Buffer.alloc(16);
    pause.writeBigUInt64LE(pauseNanoseconds, 8);
    const interval = put(pause);
    const slots = [...others, ...own];
    /** Descriptors are on the stack, 8 bytes each, and then there is room for what arrives. */
    const room = 8 * slots.length;
    a.addTo('sp', -(room + 16));
    const open = (place: Place, slot: number, then: number): void => {
      callWith(a, calls.socket, place.length === 16 ? AF_INET : AF_INET6, datagrams, 0);
      a.jumpIfNegative('result', 'failed');
      a.copy('s0', 'result');
      a.store64('s0', 'sp', 8 * slot);
      a.copy('a0', 's0');
      callWith(a, then, undefined, place.at, place.length);
    };
    // The receivers first: a packet that arrives before them is lost.
    own.forEach((place, index) => open(place, others.length + index, calls.bind));
    others.forEach((place, index) => open(place, index, calls.connect));
    a.set('s1', turns);
    a.label('turn');
    for (const index of others.keys()) {
      a.load64('a0', 'sp', 8 * index);
      callWith(a, calls.write, undefined, payload.at, payload.length);
    }
    for (const index of own.keys()) {
      a.load64('a0', 'sp', 8 * (others.length + index));
      a.copy('a1', 'sp');
      a.addTo('a1', room);
      callWith(a, calls.read, undefined, undefined, 8);
      a.jumpIfNegative('result', `none ${index}`);
      a.jump('arrived');
      a.label(`none ${index}`);
    }
    callWith(a, calls.ppoll, 0, 0, interval.at, 0, 0);
    a.addTo('s1', -1);
    a.jumpUnlessZero('s1', 'turn');
    callWith(a, calls.exitGroup, nothingArrived);
    a.label('arrived');
    callWith(a, calls.exitGroup, somethingArrived);
    a.label('failed');
    callWith(a, calls.exitGroup, 2);
  });
}

/** Returns a struct sockaddr_in (16 bytes) or sockaddr_in6 (28 bytes). Sources: ip(7), ipv6(7). */
function socketAddress(address: string): Buffer {
  const of = ipTextBytes(address);
  if (of === undefined) throw new TypeError(`${address} is not an address`);
  const isFour = of.length === 4;
  const bytes = Buffer.alloc(isFour ? 16 : 28);
  bytes.writeUInt16LE(isFour ? AF_INET : AF_INET6, 0);
  bytes.writeUInt16BE(port, 2);
  bytes.set(of, isFour ? 4 : 8);
  return bytes;
}
