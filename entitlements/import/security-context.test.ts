import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { importPod } from './security-context.ts';

describe('a pod with Localhost profiles that cannot be read', () => {
  it('is imported with the default ones, and lists that they may grant more', () => {
    const localhostProfile = 'a';
    const profile = { type: 'Localhost', localhostProfile };
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'p' },
      spec: {
        containers: [
          { name: 'c', image: 'x', securityContext: { seccompProfile: profile, appArmorProfile: profile } },
        ],
      },
    };
    const [found] = importPod(pod, { profile: () => undefined, seccomp: () => undefined });
    assert.deepEqual(
      found?.unmapped.map(({ why }) => why.replace(/^.*; /, '')),
      [
        'the default filter is used instead, which may grant more',
        'the default profile is used instead, which may grant more',
      ],
    );
  });
});
