import { callWith } from '../../../base/elf/index.ts';
import type { Assembler, Place } from '../../../base/elf/index.ts';
import { memory } from './client-calls.ts';
import type { Calls } from './client-calls.ts';
import type { Emitter } from './client-streams.ts';

/** How the thin client (client.ts) replaces itself with the program that works without the daemon. */

/** s3: the first entry of the environment. */
export function toEnvironment(a: Assembler): void {
  a.load64('s3', 's0', 0);
  for (let times = 0; times < 3; times += 1) a.addRegister('s3', 's3');
  a.addRegister('s3', 's0');
  a.addTo('s3', 16);
}

/** Makes the input that was read available as standard input again. */
export function keepInput(a: Assembler, emit: Emitter, sys: Calls, memfdName: Place): void {
  callWith(a, sys.memfdCreate, memfdName.at, 0);
  a.jumpIfNegative('result', 'unavailable');
  a.copy('s1', 'result');
  a.copy('s4', 's2');
  emit.add('s4', memory.input);
  a.load64('s3', 's2', memory.inputLength);
  a.label('keep');
  a.jumpIfZero('s3', 'kept');
  a.copy('a0', 's1');
  a.copy('a1', 's4');
  a.copy('a2', 's3');
  a.call(sys.write);
  a.jumpIfNegative('result', 'unavailable');
  a.copy('t', 'result');
  a.addRegister('s4', 't');
  a.subtractRegister('s3', 't');
  a.jump('keep');
  a.label('kept');
  a.copy('a0', 's1');
  callWith(a, sys.lseek, undefined, 0, 0);
  a.copy('a0', 's1');
  callWith(a, sys.dup3, undefined, 0, 0);
}

/** Executes the program, with the name of this call as its last argument. */
export function execute(a: Assembler, emit: Emitter, sys: Calls, program: readonly Place[]): void {
  program.forEach((argument, at) => {
    a.set('t', argument.at);
    a.store64('t', 's2', memory.vector + at * 8);
  });
  a.load64('t', 's0', 8);
  a.store64('t', 's2', memory.vector + program.length * 8);
  a.set('t', 0);
  a.store64('t', 's2', memory.vector + (program.length + 1) * 8);
  toEnvironment(a);
  a.copy('a2', 's3');
  a.copy('a1', 's2');
  emit.add('a1', memory.vector);
  a.set('a0', program[0]?.at ?? 0);
  a.call(sys.execve);
  a.jump('unavailable');
}
