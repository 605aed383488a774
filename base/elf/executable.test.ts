import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { assembleExecutable, callWith, words } from './executable.ts';
import type { Assembler } from './assembler.ts';
import type { Constants, Machine } from './executable.ts';

/** System calls of each machine. Source: asm/unistd_64.h, asm-generic/unistd.h. */
const calls = { x86_64: { write: 1, exit: 60 }, aarch64: { write: 64, exit: 93 } } as const;

const hello = (machine: Machine): Buffer =>
  assembleExecutable(machine, (a, { put }) => {
    const text = put(Buffer.from('hello\n'));
    callWith(a, calls[machine].write, 1, text.at, text.length);
    callWith(a, calls[machine].exit, 7);
  });

for (const [machine, number] of [
  ['x86_64', 62],
  ['aarch64', 183],
] as const) {
  describe(`an executable for ${machine}`, () => {
    const bytes = hello(machine);

    it('has the ELF header of elf(5)', () => {
      assert.equal(bytes.subarray(0, 16).toString('hex'), '7f454c46' + '02' + '01' + '01' + '00'.repeat(9));
      assert.equal(bytes.readUInt16LE(16), 2, 'e_type: ET_EXEC');
      assert.equal(bytes.readUInt16LE(18), number, 'e_machine');
      assert.equal(bytes.readUInt32LE(20), 1, 'e_version');
      assert.equal(bytes.readBigUInt64LE(24), 0x40_0078n, 'e_entry: the first byte after both headers');
      assert.equal(bytes.readBigUInt64LE(32), 64n, 'e_phoff');
      assert.equal(bytes.readBigUInt64LE(40), 0n, 'e_shoff: no sections');
      assert.equal(bytes.readUInt32LE(48), 0, 'e_flags');
      assert.deepEqual(
        [52, 54, 56, 58, 60, 62].map((at) => bytes.readUInt16LE(at)),
        [64, 56, 1, 0, 0, 0],
      );
    });

    it('has one segment, which contains the whole file and is never writable', () => {
      assert.equal(bytes.readUInt32LE(64), 1, 'p_type: PT_LOAD');
      assert.equal(bytes.readUInt32LE(68), 5, 'p_flags: PF_R | PF_X');
      const [offset, virtual, physical, inFile, inMemory, alignment] = [72, 80, 88, 96, 104, 112].map((at) =>
        bytes.readBigUInt64LE(at),
      );
      assert.deepEqual([offset, virtual, physical, alignment], [0n, 0x40_0000n, 0x40_0000n, 0x1_0000n]);
      assert.deepEqual([inFile, inMemory], [BigInt(bytes.length), BigInt(bytes.length)]);
    });

    it('has its constants after the code, each aligned to 8 bytes, at the addresses that the code gets', () => {
      const places: { readonly at: number; readonly length: number }[] = [];
      const all = assembleExecutable(machine, (a, { put }) => {
        places.splice(0);
        for (const text of ['one', 'sixteen letters.', '']) places.push(put(Buffer.from(text)));
        for (const { at } of places) a.set('a0', at);
      });
      const [first, second, third] = places;
      assert.deepEqual(
        places.map(({ length }) => length),
        [3, 16, 0],
      );
      assert.deepEqual([second!.at - first!.at, third!.at - second!.at], [8, 16]);
      assert.equal(first!.at % 8, 0);
      assert.equal(
        all.toString('latin1', first!.at - 0x40_0000, first!.at - 0x40_0000 + 24),
        'one\0\0\0\0\0sixteen letters.',
      );
      assert.equal(all.length, third!.at - 0x40_0000);
    });

    it('has the same bytes each time', () => assert.deepEqual(hello(machine), bytes));

    it('is refused if the code has another length the second time', () => {
      let times = 0;
      const write = (a: Assembler): void => {
        times += 1;
        for (let count = 0; count < times; count += 1) a.set('a0', 0);
      };
      assert.throws(
        () => assembleExecutable(machine, write),
        /the code must have the same length both times/u,
      );
    });
  });
}

it('words are 64 bits each, little-endian', () => {
  assert.equal(words(1n, 0x0102_0304_0506_0708n).toString('hex'), '0100000000000000' + '0807060504030201');
  assert.throws(() => words(-1n), RangeError);
  assert.throws(() => words(1n << 64n), RangeError);
});

it('a call leaves the registers of absent arguments unchanged', () => {
  const set: unknown[] = [];
  const recorder = {
    set: (...args: unknown[]) => set.push(args),
    call: (number: number) => set.push(number),
  } as unknown as Assembler;
  callWith(recorder, 39, undefined, 2, undefined, -1);
  assert.deepEqual(set, [['a1', 2], ['a3', -1], 39]);
});

/** Ends with exit code 0 if every instruction did what it says, otherwise with the number of the check. */
function checks(a: Assembler, { put }: Constants, exit: number): void {
  let number = 0;
  const next = (): void => {
    number += 1;
    a.label(`check ${number} passed`);
    a.set('s4', number + 1);
  };
  const passIf = (jump: (label: string) => void): void => {
    jump(`check ${number + 1} passed`);
    a.jump('end');
    next();
  };
  const equals = (value: number): void => passIf((label) => a.jumpIfEqual('t', value, label));
  const data = put(words(0x8877_6655_4433_2211n, 5n));
  a.copy('s0', 'sp');
  a.addTo('sp', -64);
  a.set('s1', data.at);
  a.set('s4', 1);
  a.load8('t', 's1', 7);
  equals(0x88);
  a.load16('t', 's1', 2);
  equals(0x4433);
  a.load64('t', 's1', 8);
  equals(5);
  a.copy('s2', 't');
  a.addRegister('s2', 's2');
  a.copy('t', 's2');
  equals(10);
  a.addTo('s2', -4);
  a.subtractRegister('t', 's2');
  equals(4);
  a.set('t', -2);
  a.and32('t', 0xf0f0);
  equals(0xf0f0);
  // A value of 32 bits leaves the upper half zero: the sum of two is positive in 64 bits.
  a.set('t', -1);
  a.addTo('t', 1);
  passIf((label) => a.jumpUnlessZero('t', label));
  a.set('t', 0);
  passIf((label) => a.jumpIfZero('t', label));
  a.set('t', -1);
  passIf((label) => a.jumpIfNegative('t', label));
  // Stores change only their own bytes.
  a.set('t', 0);
  a.addTo('t', -1);
  a.store64('t', 'sp', 8);
  a.store64('t', 'sp', 16);
  a.set('t', 0);
  a.store32('t', 'sp', 8);
  a.store8('t', 'sp', 18);
  a.load64('t', 'sp', 8);
  passIf((label) => a.jumpUnlessZero('t', label));
  a.load16('t', 'sp', 12);
  equals(0xffff);
  a.load16('t', 'sp', 18);
  equals(0xff00);
  a.set('s4', 0);
  a.label('end');
  a.copy('a0', 's4');
  a.call(exit);
}

const native: Readonly<Record<string, Machine>> = { x64: 'x86_64', arm64: 'aarch64' };

/** Returns the command before a program: none on its own machine, else qemu-user, undefined without it. */
function runnerOf(machine: Machine): readonly string[] | undefined {
  if (native[process.arch] === machine) return [];
  const found = [`qemu-${machine}`, `qemu-${machine}-static`].find(
    (command) => spawnSync(command, ['--version']).status === 0,
  );
  return found === undefined ? undefined : [found];
}

for (const machine of ['x86_64', 'aarch64'] as const) {
  const runner = runnerOf(machine);
  describe(
    `on ${machine}`,
    { skip: runner === undefined && `neither this machine nor qemu-user runs ${machine}` },
    () => {
      const runs = (bytes: Buffer): [status: number | null, output: string] => {
        const folder = mkdtempSync(join(tmpdir(), 'executable-'));
        try {
          const file = join(folder, 'program');
          writeFileSync(file, bytes, { mode: 0o755 });
          const [command, ...args] = [...(runner ?? []), file];
          const { status, stdout } = spawnSync(command, args, { encoding: 'utf8' });
          return [status, stdout];
        } finally {
          rmSync(folder, { recursive: true });
        }
      };

      it('an executable runs', () => assert.deepEqual(runs(hello(machine)), [7, 'hello\n']));

      it('every instruction does what it says', () => {
        const bytes = assembleExecutable(machine, (a, constants) =>
          checks(a, constants, calls[machine].exit),
        );
        assert.deepEqual(runs(bytes), [0, '']);
      });
    },
  );
}
