import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { describe, it } from 'node:test';
import { disassembled, goldenFile, objdumpFor, summaryOf } from './disassembly.ts';
import { machines, programs } from './programs.ts';

const advice =
  'read what the change does to the program, then run `sh packaging/node test/programs/disassembly.ts --update`';

for (const machine of machines) {
  const objdump = objdumpFor(machine);
  describe(`the executables for ${machine}`, () => {
    for (const [name, assemble] of Object.entries(programs)) {
      const golden = readFileSync(goldenFile(name, machine), 'utf8');

      it(`${name} is the executable whose disassembly is committed`, () =>
        assert.equal(
          golden.slice(0, golden.indexOf('\n') + 1),
          summaryOf(name, machine, assemble(machine)),
          advice,
        ));

      it(
        `${name} disassembles to the committed text`,
        { skip: objdump === undefined && `no objdump for ${machine}` },
        () => assert.equal(disassembled(name, machine, objdump!), golden, advice),
      );
    }
  });
}

it('each committed text belongs to a program', () => {
  const expected = Object.keys(programs).flatMap((name) =>
    machines.map((machine) => `${name}.${machine}.txt`),
  );
  assert.deepEqual(readdirSync(new URL('golden', import.meta.url)).sort(), expected.sort());
});
