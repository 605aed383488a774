import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { checkPolicy } from '../../entitlements/proof/fixtures/check-policy.ts';
import { openOracle } from './z3.ts';
import type { Oracle } from './z3.ts';

describe('Z3', () => {
  let oracle: Oracle;
  before(() => (oracle = openOracle()));
  after(() => oracle.close());

  it('agrees that programs equal their policies', async () => {
    let agreed = 0;
    for (let seed = 0; seed < 25; seed++) {
      const architecture = seed % 2 === 0 ? 'x86_64' : 'aarch64';
      const checked = checkPolicy(seed, architecture);
      if (checked === 'too complex') continue;
      assert.equal(
        await oracle.difference(checked.policy, checked.bpf, architecture),
        undefined,
        `seed ${seed}`,
      );
      agreed += 1;
    }
    assert.ok(agreed >= 20);
  });

  it('finds a wrong answer', async () => {
    const checked = checkPolicy(2);
    assert.ok(checked !== 'too complex');
    const wrong = Uint8Array.from(checked.bpf);
    wrong[wrong.length - 4] = (wrong.at(-4) ?? 0) ^ 1;
    assert.notEqual(await oracle.difference(checked.policy, wrong, 'x86_64'), undefined);
  });

  it('is asked again when it does not answer in time, and is then abandoned', async () => {
    const checked = checkPolicy(2);
    assert.ok(checked !== 'too complex');
    const hurried = openOracle(1);
    await assert.rejects(
      hurried.difference(checked.policy, checked.bpf, 'x86_64'),
      /did not answer in 0.001 s, 3 times/,
    );
    hurried.close();
  });
});
