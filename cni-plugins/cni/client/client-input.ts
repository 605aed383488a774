import type { Assembler, Place } from '../../../base/elf/index.ts';
import { maxStdin } from '../../spec/call.ts';
import { memory } from './client-calls.ts';
import type { Calls } from './client-calls.ts';
import { EAGAIN, EINTR, POLLIN } from './client-streams.ts';
import type { Emitter } from './client-streams.ts';

/** How the thin client (client.ts) reads its standard input. */

/**
 * Reads what arrives on standard input, each piece within `patience`. A person who calls by hand gives no
 * input, and this code does not wait for it. Stores the length in memory. Continues at the label `all there`
 * if the end was seen, otherwise at `send`.
 */
export function gatherInput(a: Assembler, emit: Emitter, sys: Calls, patience: Place): void {
  a.set('s3', 0);
  a.label('gather');
  a.store64('s3', 's2', memory.inputLength);
  emit.poll(0, POLLIN, patience);
  a.jumpIfEqual('result', -EINTR, 'gather');
  a.jumpIfZero('result', 'send');
  a.copy('a1', 's2');
  emit.add('a1', memory.input);
  a.addRegister('a1', 's3');
  a.set('a2', maxStdin + 1);
  a.subtractRegister('a2', 's3');
  a.jumpIfZero('a2', 'all there');
  a.set('a0', 0);
  a.call(sys.read);
  a.jumpIfZero('result', 'all there');
  a.jumpIfEqual('result', -EINTR, 'gather');
  a.jumpIfEqual('result', -EAGAIN, 'gather');
  a.jumpIfNegative('result', 'all there');
  a.copy('t', 'result');
  a.addRegister('s3', 't');
  a.jump('gather');
}

/** Reads the rest of standard input, however long it takes, and appends it to what was read before. */
export function readRest(a: Assembler, emit: Emitter, label: string): void {
  a.load64('s3', 's2', memory.inputLength);
  emit.readAll(label, undefined, memory.input, maxStdin + 1, `${label} done`, `${label} done`);
  a.label(`${label} done`);
  a.store64('s3', 's2', memory.inputLength);
}
