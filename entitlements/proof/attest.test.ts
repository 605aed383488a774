import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DEFAULT_CAPABILITIES } from '../capabilities/capability-names.ts';
import { encode } from '../seccomp/bpf-assembler.ts';
import { generateBpf } from '../seccomp/bpf-generator.ts';
import { always } from '../seccomp/decision.ts';
import { defaultPolicy } from '../seccomp/default-policy.ts';
import { exportOci } from '../seccomp/oci-export.ts';
import { filteredPolicy, UNFILTERED } from '../seccomp/policy.ts';
import type { FilteredPolicy } from '../seccomp/policy.ts';
import type { Outcome } from '../seccomp/outcome.ts';
import { attestFilters } from './attest.ts';

function standard(): FilteredPolicy {
  const policy = defaultPolicy(DEFAULT_CAPABILITIES);
  assert.ok(policy.filtered);
  return policy;
}

function changed(name: string, outcome: Outcome): Uint8Array {
  return generateBpf(
    filteredPolicy(standard().fallback, [...standard().rules, [name, always(outcome)] as const]),
    'x86_64',
  );
}

const policy = standard();
const own = generateBpf(policy, 'x86_64');
const answering = (k: number): Uint8Array => encode([{ code: 0x06, jt: 0, jf: 0, k }]);

/** The filters, the verdict, the call that shows it. */
const CASES: readonly (readonly [
  what: string,
  filters: readonly Uint8Array[],
  verdict: string,
  witness?: RegExp,
])[] = [
  ['its own program', [own], 'equal'],
  ['it twice', [own, own], 'equal'],
  ['it and one that allows all', [own, answering(0x7fff0000)], 'equal'],
  [
    'a call less',
    [changed('read', 'errno 2')],
    'narrower',
    /read\(\): the filter answers errno 2, the profile says allow/,
  ],
  [
    'another errno',
    [changed('mount', 'errno 38')],
    'narrower',
    /mount\(\): the filter answers errno 38, the profile says errno 1/,
  ],
  ['a newer filter that kills', [own, answering(0)], 'narrower', /the filter answers kill-thread/],
  [
    'a call more',
    [changed('mount', 'allow')],
    'looser',
    /mount\(\): the filter answers allow, the profile says errno 1/,
  ],
  [
    'a call that is logged and made',
    [changed('mount', 'log')],
    'looser',
    /mount\(\): the filter answers log, the profile says errno 1/,
  ],
  ['no filter', [], 'looser', /the filter answers allow/],
  ['a supervisor that may answer anything', [answering(0x7fc00000)], 'looser', /the filter answers notify/],
];

describe('attestation', () => {
  for (const [what, filters, verdict, witness] of CASES) {
    it(`of ${what}: ${verdict}`, () => {
      const found = attestFilters({ policy }, 'x86_64', filters);
      assert.equal(found.verdict, verdict);
      if (witness === undefined) assert.equal(found.witness, undefined);
      else assert.match(found.witness?.sentence ?? '', witness);
    });
  }

  it('uses the tighter action of two filters, and the newer of two errnos', () => {
    const [eperm, enosys] = [answering(0x50001), answering(0x50026)];
    const sentence = (...filters: Uint8Array[]): string =>
      attestFilters({ policy: UNFILTERED }, 'x86_64', filters).witness?.sentence ?? '';
    assert.match(sentence(eperm, enosys), /answers errno 38/);
    assert.match(sentence(enosys, eperm), /answers errno 1,/);
    assert.match(sentence(eperm, answering(0x30000)), /answers trap/);
    assert.match(sentence(answering(0x80000000), eperm), /answers kill-process/);
  });

  it('compares a program with an OCI object', () => {
    const oci = exportOci(policy, 'x86_64');
    assert.deepEqual(attestFilters({ oci }, 'x86_64', [own]).witness, undefined);
    assert.equal(attestFilters({ oci }, 'x86_64', [own]).verdict, 'equal');
    assert.equal(attestFilters({ oci }, 'x86_64', [changed('mount', 'allow')]).verdict, 'looser');
  });

  it('supports a container that must not be filtered', () => {
    assert.equal(attestFilters({ policy: UNFILTERED }, 'x86_64', []).verdict, 'equal');
    assert.equal(attestFilters({ policy: UNFILTERED }, 'x86_64', [own]).verdict, 'narrower');
  });
});
