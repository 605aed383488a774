import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { counterImages, counterRights, isBounded, passes } from './counter.fixture.ts';

const core = Buffer.from(counterImages().read('core-30.img'));

/** Replaces the one occurrence of some bytes in the creds of the core, all messages keeping their lengths. */
function replaced(image: Uint8Array, from: readonly number[], to: readonly number[]): Buffer {
  const text = Buffer.from(image);
  const at = text.lastIndexOf(Buffer.from(from));
  assert.ok(at > 0 && from.length === to.length);
  text.set(to, at);
  return text;
}

describe('readRights', () => {
  it('reads what criu wrote', () => {
    const { threads, processes, mounts, unread } = counterRights();
    assert.deepEqual(
      threads.map(({ pid, comm, filters }) => [pid, comm, filters?.length]),
      [
        [1, 'sh', 1],
        [30, 'sleep', 1],
      ],
    );
    assert.deepEqual(processes[0]?.limits[7], 1024n);
    assert.ok(mounts.some(({ mountpoint, readOnly }) => mountpoint === '/sys' && readOnly));
    assert.deepEqual(unread, []);
    assert.ok(passes({}) && isBounded(core));
  });

  it('refuses images that are truncated at any length', () => {
    for (const name of ['core-30.img', 'ids-30.img', 'seccomp.img', 'inventory.img', 'fs-30.img']) {
      const bytes = counterImages().read(name);
      for (let length = 0; length < bytes.length; length += 1)
        assert.ok(!passes({ [name]: bytes.subarray(0, length) }), `${name} with ${length} bytes`);
    }
  });

  it('refuses an unknown magic number, a missing image and an unknown image', () => {
    assert.ok(!passes({ 'core-30.img': replaced(core, [0x47, 0x38, 0x05, 0x55], [0x48, 0x38, 0x05, 0x55]) }));
    for (const name of counterImages().names)
      assert.ok(!passes({ [name]: undefined }) || /^mount/.test(name), name);
    for (const name of ['iptables-9.img', 'apparmor.img', 'creds-1.img', 'core-77.img'])
      assert.ok(!passes({ [name]: core }), name);
  });

  it('refuses a process that occurs twice, and a second entry after the first', () => {
    const pstree = Buffer.from(counterImages().read('pstree.img'));
    assert.ok(!passes({ 'pstree.img': Buffer.concat([pstree, pstree.subarray(8)]) }));
    assert.ok(!passes({ 'core-30.img': Buffer.concat([core, core.subarray(8)]) }));
  });

  it('never accepts a core that grants more rights, whatever is changed in it', () => {
    let passed = 0;
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(core.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        (changes) => {
          const mutated = Buffer.from(core);
          for (const [at, byte] of changes) mutated[at] = byte;
          if (!passes({ 'core-30.img': mutated })) return;
          passed += 1;
          assert.ok(isBounded(mutated));
        },
      ),
      { numRuns: 3_000, seed: Number(process.env['FUZZ_SEED'] ?? 11) },
    );
    assert.ok(passed > 100, `only ${passed} changed cores pass, so the test proves nothing`);
  });

  it('never accepts the same core after any change of one byte of its rights', () => {
    const creds = core.length - 400;
    for (let at = creds; at < core.length; at += 1)
      for (const bit of [1, 2, 4, 8, 16, 32, 64, 128]) {
        const mutated = Buffer.from(core);
        mutated[at] = (mutated[at] ?? 0) ^ bit;
        if (passes({ 'core-30.img': mutated })) assert.ok(isBounded(mutated), `byte ${at}, bit ${bit}`);
      }
  });
});
