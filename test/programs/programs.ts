import { assembleExecutable } from '../../base/elf/index.ts';
import type { Assembler, Machine, Register } from '../../base/elf/index.ts';
import { clientProgram } from '../../cni-plugins/cni/client/client.ts';
import { landlockLauncher } from '../../entitlements/landlock/launcher.ts';
import { preContentRefusal } from '../../base/kernel/index.ts';
import { keeperProgram } from '../../runtime/images/lazy/keeper-program.ts';
import { infraProgram } from '../../runtime/pods/infra/program.ts';
import { eventSinkProgram } from '../../runtime/shim/event-sink-program.ts';

export const machines: readonly Machine[] = ['x86_64', 'aarch64'];

/** The executables that the product assembles, by name, and one with each instruction of the assembler. */
export const programs: Readonly<Record<string, (machine: Machine) => Uint8Array>> = {
  launcher: (machine) =>
    landlockLauncher(
      [
        { path: '/app', kind: 'folder', access: ['read', 'write'] },
        { path: '/etc/hosts', kind: 'file', access: ['read'] },
      ],
      machine,
    ),
  'infra-process': (machine) => infraProgram(machine === 'x86_64' ? 'x64' : 'arm64'),
  'cni-client': (machine) =>
    clientProgram(
      {
        version: '1',
        socket: '/run/portcullis/cni.sock',
        data: '/var/lib/portcullis',
        program: ['/usr/bin/node', '/usr/lib/portcullis/cni-plugin.js'],
      },
      machine,
    ),
  'event-sink': (machine) => eventSinkProgram('/run/portcullis/shim-events.sock', machine),
  'gate-keeper': (machine) => keeperProgram(65_536, preContentRefusal, machine),
  instructions: (machine) => assembleExecutable(machine, everyInstruction),
};

const general: readonly Register[] = [
  's0',
  's1',
  's2',
  's3',
  's4',
  'a0',
  'a1',
  'a2',
  'a3',
  'a4',
  'result',
  't',
];

/** Each instruction with each register, in the order of the interface. It is read, never run. */
function everyInstruction(a: Assembler): void {
  a.label('start');
  const each = (write: (register: Register) => void): void => {
    for (const register of general) write(register);
  };
  const bases: readonly Register[] = [...general, 'sp'];
  each((to) => a.set(to, 0x1234_5678));
  each((to) => a.copy(to, 'sp'));
  each((from) => a.copy('s1', from));
  a.copy('sp', 's0');
  for (const to of bases) {
    a.addTo(to, 4095);
    a.addTo(to, -4095);
  }
  each((register) => a.addRegister('a3', register));
  each((register) => a.addRegister(register, 'a0'));
  each((register) => a.subtractRegister('a0', register));
  each((register) => a.subtractRegister(register, 'a3'));
  for (const base of bases) {
    a.load64('t', base, 8);
    a.load16('a1', base, 2);
    a.load8('a2', base, 1);
    a.store64('s4', base, 32_760);
    a.store32('s3', base, 16_380);
    a.store8('a1', base, 4095);
  }
  each((register) => a.store8(register, 'sp', 0));
  each((to) => a.and32(to, 0xf0f0_f0f0));
  a.call(0x1bd);
  a.jump('start');
  each((register) => a.jumpIfZero(register, 'start'));
  each((register) => a.jumpUnlessZero(register, 'start'));
  each((register) => a.jumpIfNegative(register, 'start'));
  each((register) => a.jumpIfEqual(register, -2, 'end'));
  a.label('end');
}
