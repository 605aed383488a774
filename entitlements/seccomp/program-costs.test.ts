import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { DEFAULT_CAPABILITIES } from '../capabilities/capability-names.ts';
import { generateBpf } from './bpf-generator.ts';
import { defaultPolicy } from './default-policy.ts';
import { libseccompTree, programCosts } from './fixtures/program-costs.ts';
import { exportOci } from './oci-export.ts';

/** libseccomp 2.5.4 with CTL_OPTIMIZE=2 on the default profile for x86_64. */
const LIBSECCOMP = { instructions: 422, executed: 15.38 };

const without =
  spawnSync('/usr/bin/python3', ['-c', 'import seccomp']).status === 0
    ? false
    : 'python3-seccomp is not installed';

describe('the program of the default profile', () => {
  const policy = defaultPolicy(DEFAULT_CAPABILITIES);
  assert.ok(policy.filtered);

  function assertBelow(theirs: { readonly instructions: number; readonly executed: number }): void {
    assert.ok(policy.filtered);
    const ours = programCosts(generateBpf(policy, 'x86_64'), policy, 'x86_64');
    assert.ok(
      ours.instructions <= 0.5 * theirs.instructions,
      `${ours.instructions} instructions of ${theirs.instructions}`,
    );
    assert.ok(ours.executed <= 0.7 * theirs.executed, `${ours.executed} executed of ${theirs.executed}`);
  }

  it('takes at most half of the instructions of libseccomp’s tree, and executes at most 0.7 of them', () =>
    assertBelow(LIBSECCOMP));

  it('does so compared with the libseccomp of this machine', { skip: without }, () => {
    assert.ok(policy.filtered);
    assertBelow(programCosts(libseccompTree(exportOci(policy, 'x86_64')), policy, 'x86_64'));
  });

  it('is as short on aarch64', () => {
    assert.ok(policy.filtered);
    const { instructions, executed } = programCosts(generateBpf(policy, 'aarch64'), policy, 'aarch64');
    assert.ok(instructions <= 130 && executed <= 11, `${instructions} ${executed}`);
  });
});
