import { assembleExecutable, callWith, words } from '../../base/elf/index.ts';
import type { Assembler, Machine } from '../../base/elf/index.ts';

/**
 * The program that takes the events of shims: a static ELF executable of a few hundred bytes, because it
 * has to live on when the daemon does not. A shim that cannot send an event may end with all its
 * containers, as gVisor's does. The daemon asks a shim how a task ended, and needs no event, so this
 * program reads each request and answers with an empty response (containerd/ttrpc, PROTOCOL.md):
 *
 * 1. umask(077), rt_sigaction(SIGCHLD, SIG_IGN): only this user may connect, and children need no wait.
 * 2. socket, bind, listen at the path that it is assembled with.
 * 3. For each connection: accept, and a child that reads the header of a frame and its data, and writes a
 *    header with the same number, type 2 and no data, until the peer disconnects or breaks the protocol.
 *
 * It ends with code 1 if the path is taken.
 */
type CallName =
  | 'accept'
  | 'bind'
  | 'clone'
  | 'close'
  | 'exitGroup'
  | 'listen'
  | 'ppoll'
  | 'read'
  | 'rtSigaction'
  | 'sendto'
  | 'socket'
  | 'umask';

/** Numbers of the system calls (asm/unistd_64.h, asm-generic/unistd.h). */
const numbers: Readonly<Record<Machine, Readonly<Record<CallName, number>>>> = {
  x86_64: {
    ...{ accept: 43, bind: 49, clone: 56, close: 3, exitGroup: 231, listen: 50 },
    ...{ ppoll: 271, read: 0, rtSigaction: 13, sendto: 44, socket: 41, umask: 95 },
  },
  aarch64: {
    ...{ accept: 202, bind: 200, clone: 220, close: 57, exitGroup: 94, listen: 201 },
    ...{ ppoll: 73, read: 63, rtSigaction: 134, sendto: 206, socket: 198, umask: 166 },
  },
};

const [AF_UNIX, SOCK_STREAM, SOCK_CLOEXEC, MSG_NOSIGNAL] = [1, 1, 0o2000000, 0x4000];
const [SIGCHLD, SIG_IGN, signalSetSize] = [17, 1, 8];
const backlog = 1024;
const headerLength = 10;
const response = 2;
/** Bytes of the stack, and where data is read to in them. */
const [room, dataAt, dataRoom] = [3072, 16, 2048];
const acceptAgainNs = 100_000_000n;

/** @param socket absolute path, at most 107 bytes (unix(7)) */
export function eventSinkProgram(socket: string, machine: Machine): Buffer {
  const calls = numbers[machine];
  return assembleExecutable(machine, (a, { put }) => {
    const address = put(Buffer.concat([Buffer.from([AF_UNIX, 0]), Buffer.from(socket), Buffer.alloc(1)]));
    const action = put(words(BigInt(SIG_IGN), 0n, 0n, 0n));
    const pause = put(words(0n, acceptAgainNs));
    callWith(a, calls.umask, 0o077);
    callWith(a, calls.rtSigaction, SIGCHLD, action.at, 0, signalSetSize);
    callWith(a, calls.socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    a.jumpIfNegative('result', 'failed');
    a.copy('s1', 'result');
    a.copy('a0', 's1');
    callWith(a, calls.bind, undefined, address.at, address.length);
    a.jumpIfNegative('result', 'failed');
    a.copy('a0', 's1');
    callWith(a, calls.listen, undefined, backlog);
    a.jumpIfNegative('result', 'failed');

    a.label('next');
    a.copy('a0', 's1');
    callWith(a, calls.accept, undefined, 0, 0);
    a.jumpIfNegative('result', 'wait');
    a.copy('s0', 'result');
    callWith(a, calls.clone, SIGCHLD, 0, 0, 0, 0);
    a.jumpIfZero('result', 'serve');
    a.copy('a0', 's0');
    a.call(calls.close);
    a.jump('next');
    // No descriptor or no memory is free.
    a.label('wait');
    callWith(a, calls.ppoll, 0, 0, pause.at, 0, 0);
    a.jump('next');

    serve(a, calls);
    a.label('over');
    callWith(a, calls.exitGroup, 0);
    a.label('failed');
    callWith(a, calls.exitGroup, 1);
  });
}

/** s0: the connection. s2: our part of the stack. s3: bytes of the header. s4: bytes of data that remain. */
function serve(a: Assembler, calls: Readonly<Record<CallName, number>>): void {
  a.label('serve');
  a.copy('a0', 's1');
  a.call(calls.close);
  a.addTo('sp', -room);
  a.copy('s2', 'sp');

  a.label('frame');
  a.set('s3', 0);
  a.label('header');
  a.copy('a0', 's0');
  a.copy('a1', 's2');
  a.addRegister('a1', 's3');
  a.set('a2', headerLength);
  a.subtractRegister('a2', 's3');
  a.call(calls.read);
  a.jumpIfZero('result', 'over');
  a.jumpIfNegative('result', 'over');
  a.addRegister('s3', 'result');
  a.jumpIfEqual('s3', headerLength, 'length');
  a.jump('header');

  // The length has four bytes, the first of which is reserved (PROTOCOL.md, "Message Frame").
  a.label('length');
  a.load8('t', 's2', 0);
  a.jumpUnlessZero('t', 'over');
  a.load8('s4', 's2', 1);
  for (const at of [2, 3]) {
    for (let bit = 0; bit < 8; bit += 1) a.addRegister('s4', 's4');
    a.load8('t', 's2', at);
    a.addRegister('s4', 't');
  }

  a.label('data');
  a.jumpIfZero('s4', 'answer');
  a.copy('a0', 's0');
  a.copy('a1', 's2');
  a.addTo('a1', dataAt);
  a.copy('a2', 's4');
  a.copy('t', 's4');
  a.addTo('t', -dataRoom);
  a.jumpIfNegative('t', 'read data');
  a.set('a2', dataRoom);
  a.label('read data');
  a.call(calls.read);
  a.jumpIfZero('result', 'over');
  a.jumpIfNegative('result', 'over');
  a.subtractRegister('s4', 'result');
  a.jump('data');

  a.label('answer');
  a.set('t', 0);
  a.store32('t', 's2', 0);
  a.store8('t', 's2', 9);
  a.set('t', response);
  a.store8('t', 's2', 8);
  a.copy('a0', 's0');
  a.copy('a1', 's2');
  callWith(a, calls.sendto, undefined, undefined, headerLength, MSG_NOSIGNAL, 0);
  a.jumpIfEqual('result', headerLength, 'frame');
}
