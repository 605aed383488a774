import { assembleExecutable, callWith, words } from '../../../base/elf/index.ts';
import type { Assembler, Constants, Machine, Place } from '../../../base/elf/index.ts';
import { greeting, headSize, lengthSize, maxAnswer, versionAt, versions } from '../server/frames.ts';
import { cniCodes, writeCniError } from '../../spec/cni-error.ts';
import { execute, keepInput, toEnvironment } from './client-exec.ts';
import { gatherInput, readRest } from './client-input.ts';
import { answerAt, calls, memory, memorySize } from './client-calls.ts';
import type { Calls } from './client-calls.ts';
import { EINTR, MSG_NOSIGNAL, emitter } from './client-streams.ts';
import type { Emitter } from './client-streams.ts';
import { writeStamp } from './stamp.ts';
import type { Stamp } from './stamp.ts';

/**
 * The program that is installed under every plugin's name: a static ELF executable of four kilobytes, so that
 * a call costs one exec and a few system calls. It passes its name, environment and standard input to the
 * daemon (cni/server/frames.ts) and prints the answer.
 *
 * 1. Find the daemon's socket: PORTCULLIS_CNI_SOCKET, otherwise the path of the installation. An empty path
 *    means no daemon.
 * 2. connect. If no process listens: execve the program that works without a daemon.
 * 3. Send the strings, and standard input with them if the caller has written all of it, in one message: the
 *    daemon wakes up once. Wait for the greeting.
 * 4. If no greeting arrives within two seconds: shut down the receiving side, so that the kernel refuses a
 *    greeting from then on, and look once more. If there is none, the daemon will not act: execute the other
 *    program, with the input that was read in a memfd. If there is one, continue as in 6.
 * 5. Send standard input if it was not sent before and the greeting asks for it; receive the whole answer,
 *    write it out, end with its exit code.
 * 6. If the daemon ends in between, it may have acted: the other program takes back what was left and reports
 *    that the call failed (code 11).
 *
 * Until a greeting arrives, the client holds no state and may be killed at any moment; after that the daemon
 * notices.
 */
const socketVariable = 'PORTCULLIS_CNI_SOCKET';

/** @param stamp its socket path has at most {@link maxSocketPath} bytes */
export function clientProgram(stamp: Stamp, machine: Machine): Buffer {
  return assembleExecutable(machine, (assembler, constants) =>
    write(assembler, calls[machine], layOut(stamp, constants)),
  );
}

const [withInput, withoutInput] = [versions.withInput, versions.inputOnRequest].map((version) =>
  version.charCodeAt(0),
) as [number, number];

/** `sun_path` holds 108 bytes including its final NUL (unix(7)). */
export const maxSocketPath = 107;

const [AF_UNIX, SOCK_STREAM, SOCK_CLOEXEC] = [1, 1, 0o2000000];
const [SOL_SOCKET, SO_RCVTIMEO, SO_SNDTIMEO] = [1, 20, 21];
const F_DUPFD_CLOEXEC = 1030;
const SHUT_RD = 0;

/**
 * How long a piece of standard input may take and still be sent along, in ns. A runtime writes at once; a
 * person at a terminal never does.
 */
const inputPatience = 20_000_000n;

/**
 * How long the daemon may take to send its greeting and its answer. The latter is more than a kubelet waits
 * for a pod's network.
 */
const [greetSeconds, answerSeconds] = [2n, 300n];

interface Layout {
  readonly greeting: Place;
  readonly variable: readonly number[];
  readonly address: Place;
  readonly greetTimeout: Place;
  readonly answerTimeout: Place;
  readonly inputPatience: Place;
  readonly alone: readonly Place[];
  readonly lost: readonly Place[];
  readonly unavailable: Place;
  readonly memfdName: Place;
}

function layOut(stamp: Stamp, { put }: Constants): Layout {
  const text = (value: string): Place => put(Buffer.from(`${value}\0`));
  // struct sockaddr_un: family, path.
  const address = Buffer.concat([Buffer.from([AF_UNIX, 0]), Buffer.from(stamp.socket), Buffer.alloc(1)]);
  const unavailable = {
    code: cniCodes.notAvailable,
    msg: 'the Portcullis daemon does not answer, and the program that works without it cannot be started',
    details:
      "start the daemon, or run 'portcullis cni install --bin-dir FOLDER' again for the folder of this plugin",
  };
  // The name of the call follows as the last argument.
  const [alone, lost] = [[], ['--lost']].map((flags) =>
    [...stamp.program, ...flags, '--data', stamp.data].map(text),
  );
  const layout = {
    greeting: put(greeting),
    variable: [...Buffer.from(`${socketVariable}=`)],
    address: put(address),
    // struct timeval: seconds, microseconds.
    greetTimeout: put(words(greetSeconds, 0n)),
    answerTimeout: put(words(answerSeconds, 0n)),
    // struct timespec: seconds, nanoseconds.
    inputPatience: put(words(0n, inputPatience)),
    alone: alone ?? [],
    lost: lost ?? [],
    unavailable: put(Buffer.from(writeCniError(unavailable))),
    memfdName: text('cni-stdin'),
  };
  put(writeStamp(stamp));
  return layout;
}

/**
 * s0: what the kernel left on the stack (argc, argv, NULL, envp, NULL). s1: the socket. s2: our memory. s3,
 * s4: lengths and pointers.
 */
function write(a: Assembler, sys: Calls, c: Layout): void {
  const emit = emitter(a, sys);
  a.copy('s0', 'sp');
  a.load64('t', 's0', 0);
  a.jumpIfZero('t', 'unavailable');
  takeMemory(a, sys);
  connectToDaemon(a, sys, c);

  putGreeting(a, c);
  gatherInput(a, emit, sys, c.inputPatience);
  a.label('all there');
  a.set('t', withInput);
  a.store8('t', 's2', memory.head + versionAt);
  a.label('send');
  sendCall(a, emit, sys);
  emit.receive('greeting', 's1', memory.greeting, greeting.length, 'no greeting');
  checkGreeting(a, 'greeted');
  a.label('greeted');
  // From here on the daemon may act, so there is no fallback any more.
  setTimeout(a, sys, SO_RCVTIMEO, c.answerTimeout);
  a.load8('t', 's2', memory.greeting + 7);
  a.jumpIfEqual('t', 'n'.charCodeAt(0), 'answer');

  readRest(a, emit, 'input');
  a.copy('s4', 's2');
  emit.add('s4', memory.inputLength);
  a.addTo('s3', lengthSize);
  emit.sendAll('send input', 'lost');

  a.label('answer');
  passAnswer(a, emit, sys);

  a.label('no greeting');
  a.load8('t', 's2', memory.head + versionAt);
  a.jumpIfEqual('t', withoutInput, 'aside');
  a.copy('a0', 's1');
  callWith(a, sys.shutdown, undefined, SHUT_RD);
  emit.receive('late greeting', 's1', memory.greeting, greeting.length, 'aside');
  checkGreeting(a, 'lost');

  a.label('aside');
  a.load8('t', 's2', memory.head + versionAt);
  a.jumpIfEqual('t', withInput, 'become');
  a.load64('t', 's2', memory.inputLength);
  a.jumpIfZero('t', 'alone');
  // A part of the input was read: the rest belongs to it.
  readRest(a, emit, 'rest');
  a.jump('become');
  a.label('lost');
  a.set('t', 1);
  a.store8('t', 's2', memory.wasLost);
  a.label('become');
  // s0 was reused for the answer's head; the stack pointer never moved.
  a.copy('s0', 'sp');
  keepInput(a, emit, sys, c.memfdName);
  a.load8('t', 's2', memory.wasLost);
  a.jumpIfZero('t', 'alone');
  execute(a, emit, sys, c.lost);
  a.label('alone');
  execute(a, emit, sys, c.alone);

  a.label('unavailable');
  callWith(a, sys.write, 1, c.unavailable.at, c.unavailable.length);
  callWith(a, sys.exitGroup, 1);
}

/** Grows the heap by our memory. */
function takeMemory(a: Assembler, sys: Calls): void {
  // brk(0) returns the end of the heap, which then grows by the required size, filled with zeros.
  callWith(a, sys.brk, 0);
  a.copy('s2', 'result');
  a.copy('s3', 's2');
  a.set('t', memorySize);
  a.addRegister('s3', 't');
  a.copy('a0', 's3');
  a.call(sys.brk);
  a.copy('t', 'result');
  a.subtractRegister('t', 's3');
  a.jumpUnlessZero('t', 'unavailable');
}

/** Opens the socket and connects it. */
function connectToDaemon(a: Assembler, sys: Calls, c: Layout): void {
  callWith(a, sys.socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  a.jumpIfNegative('result', 'alone');
  a.copy('s3', 'result');
  // If the caller closed its standard streams, their numbers are free: the socket must not get one of them.
  a.copy('a0', 's3');
  callWith(a, sys.fcntl, undefined, F_DUPFD_CLOEXEC, 3);
  a.jumpIfNegative('result', 'alone');
  a.copy('s1', 'result');
  a.copy('a0', 's3');
  a.call(sys.close);
  for (const option of [SO_SNDTIMEO, SO_RCVTIMEO]) setTimeout(a, sys, option, c.greetTimeout);

  findSocket(a, c);
  a.copy('a0', 's1');
  a.call(sys.connect);
  a.jumpUnlessZero('result', 'alone');
}

/** Receives the whole answer, writes it out and ends with its exit code. */
function passAnswer(a: Assembler, emit: Emitter, sys: Calls): void {
  a.set('s3', 0);
  a.copy('s4', 's2');
  emit.add('s4', answerAt);
  // The answer contains its own length, so the client does not wait for the daemon to close.
  emit.readAll('receive', 's1', answerAt, headSize + maxAnswer, 'received', 'lost', () => {
    a.copy('t', 's3');
    a.addTo('t', -headSize);
    a.jumpIfNegative('t', 'receive');
    for (const length of [8, 16]) {
      a.load64('a1', 's4', length);
      a.subtractRegister('t', 'a1');
    }
    a.jumpIfZero('t', 'received');
  });
  a.label('received');
  // The answer is complete when s3 - head - output - error output is zero.
  a.copy('s4', 's2');
  emit.add('s4', answerAt);
  a.copy('s0', 's4');
  a.copy('t', 's3');
  a.addTo('t', -headSize);
  a.jumpIfNegative('t', 'lost');
  a.load64('a1', 's4', 8);
  a.subtractRegister('t', 'a1');
  a.load64('a1', 's4', 16);
  a.subtractRegister('t', 'a1');
  a.jumpUnlessZero('t', 'lost');
  a.addTo('s4', headSize);
  a.load64('s3', 's0', 8);
  emit.writeAll('output', 1);
  a.load64('s3', 's0', 16);
  emit.writeAll('error output', 2);
  a.load64('a0', 's0', 0);
  a.call(sys.exitGroup);
}

function setTimeout(a: Assembler, sys: Calls, option: number, time: Place): void {
  a.copy('a0', 's1');
  callWith(a, sys.setsockopt, undefined, SOL_SOCKET, option, time.at, time.length);
}

/** Leaves the address of the daemon's socket in a1, its length in a2. */
function findSocket(a: Assembler, c: Layout): void {
  toEnvironment(a);
  a.label('variable');
  a.load64('s4', 's3', 0);
  a.jumpIfZero('s4', 'installed');
  c.variable.forEach((byte, at) => {
    a.load8('t', 's4', at);
    a.jumpIfEqual('t', byte, `variable ${at}`);
    a.addTo('s3', 8);
    a.jump('variable');
    a.label(`variable ${at}`);
  });
  a.addTo('s4', c.variable.length);
  a.load8('t', 's4', 0);
  a.jumpIfZero('t', 'alone');
  a.set('t', AF_UNIX);
  a.store8('t', 's2', memory.address);
  a.copy('a1', 's2');
  a.addTo('a1', memory.address + 2);
  a.set('a2', maxSocketPath + 1);
  a.label('copy path');
  a.load8('t', 's4', 0);
  a.store8('t', 'a1', 0);
  a.jumpIfZero('t', 'given');
  a.addTo('s4', 1);
  a.addTo('a1', 1);
  a.addTo('a2', -1);
  a.jumpUnlessZero('a2', 'copy path');
  a.jump('alone');
  a.label('given');
  a.copy('a1', 's2');
  a.addTo('a1', memory.address);
  a.set('a2', 2 + maxSocketPath + 1);
  a.jump('address');
  a.label('installed');
  a.set('a1', c.address.at);
  a.set('a2', c.address.length);
  a.label('address');
}

/** Stores the greeting of the version in which the daemon asks for the input. */
function putGreeting(a: Assembler, c: Layout): void {
  a.set('t', c.greeting.at);
  a.load64('t', 't', 0);
  a.store64('t', 's2', memory.head);
}

/** Checks that the received bytes are the daemon's greeting, in the version of the call. */
function checkGreeting(a: Assembler, ours: string): void {
  for (const at of [0, versionAt]) {
    a.load8('t', 's2', memory.greeting + at);
    a.load8('a1', 's2', memory.head + at);
    a.subtractRegister('t', 'a1');
    a.jumpUnlessZero('t', 'aside');
  }
  a.jump(ours);
}

/**
 * The kernel lays out arguments and environment contiguously (fs/exec.c): from the start of the first to the
 * end of the last.
 */
function sendCall(a: Assembler, emit: Emitter, sys: Calls): void {
  a.load64('t', 's0', 0);
  a.store64('t', 's2', memory.head + 8);
  a.copy('s3', 's0');
  a.addTo('s3', 8);
  for (const list of ['arguments', 'environment']) {
    a.label(list);
    a.load64('t', 's3', 0);
    a.addTo('s3', 8);
    a.jumpIfZero('t', `end of ${list}`);
    a.copy('s4', 't');
    a.jump(list);
    a.label(`end of ${list}`);
  }
  a.label('last byte');
  a.load8('t', 's4', 0);
  a.addTo('s4', 1);
  a.jumpUnlessZero('t', 'last byte');
  a.load64('t', 's0', 8);
  a.subtractRegister('s4', 't');
  a.store64('s4', 's2', memory.head + 16);
  // struct msghdr with two or three struct iovec (sendmsg(2)), so that the reader handles a single message.
  a.copy('a1', 's2');
  a.addTo('a1', memory.head);
  a.store64('a1', 's2', memory.parts);
  a.set('t', headSize);
  a.store64('t', 's2', memory.parts + 8);
  a.load64('t', 's0', 8);
  a.store64('t', 's2', memory.parts + 16);
  a.store64('s4', 's2', memory.parts + 24);
  a.copy('a1', 's2');
  a.addTo('a1', memory.parts);
  a.store64('a1', 's2', memory.message + 16);
  a.set('t', 2);
  a.store64('t', 's2', memory.message + 24);
  a.load8('t', 's2', memory.head + versionAt);
  a.jumpIfEqual('t', withoutInput, 'send call');
  // The input follows its length.
  a.copy('a1', 's2');
  emit.add('a1', memory.inputLength);
  a.store64('a1', 's2', memory.parts + 32);
  a.load64('t', 's2', memory.inputLength);
  a.addTo('t', lengthSize);
  a.store64('t', 's2', memory.parts + 40);
  a.addRegister('s4', 't');
  a.set('t', 3);
  a.store64('t', 's2', memory.message + 24);
  a.label('send call');
  a.copy('a0', 's1');
  a.copy('a1', 's2');
  a.addTo('a1', memory.message);
  callWith(a, sys.sendmsg, undefined, undefined, MSG_NOSIGNAL);
  a.jumpIfEqual('result', -EINTR, 'send call');
  a.copy('t', 'result');
  a.addTo('t', -headSize);
  a.subtractRegister('t', 's4');
  a.jumpUnlessZero('t', 'aside');
}
