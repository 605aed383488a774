import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { checkOnKernel } from './fixtures/check-on-kernel.ts';
import { filteredProbe } from './fixtures/filtered-probe.ts';
import { findMiscompilations, withoutLibseccomp } from './fixtures/miscompilations.ts';

const EPERM = -1n;

describe('the running kernel', { skip: process.arch !== 'x64' && 'the probe is x86_64 code' }, () => {
  const probe = filteredProbe();
  after(() => probe.remove());

  it('answers as 200 random policies say', () => {
    let calls = 0;
    for (let seed = 0; seed < 200; seed++) calls += checkOnKernel(seed, probe);
    assert.ok(calls > 2000, String(calls));
  });

  it('confirms what the proof finds in libseccomp’s output', { skip: withoutLibseccomp }, () => {
    const { found } = findMiscompilations(400, 1);
    const [more, less] = [
      found.filter(({ grantsMore }) => grantsMore),
      found.filter(({ grantsMore }) => !grantsMore),
    ];
    for (const { bpf, witness, grantsMore } of [...more.slice(0, 5), ...less.slice(0, 5)]) {
      // write(fd, NULL, 1) to a descriptor that is closed or not writable: EBADF or EFAULT if the filter
      // allows it.
      const [fd = 0n] = witness.args;
      const { loaded, results } = probe.run(bpf, [{ nr: 1, args: [fd, 0n, 1n] }]);
      assert.equal(loaded, 0n);
      assert.equal(results[0] !== EPERM, grantsMore, witness.sentence);
    }
  });
});
