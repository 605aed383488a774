import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { importPod } from './security-context.ts';
import type { ImportedContainer } from './security-context.ts';

const LOCALHOST = { type: 'Localhost', localhostProfile: 'a' };

function imported(own: object, ofPod: object = {}): ImportedContainer | undefined {
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p' },
    spec: { securityContext: ofPod, containers: [{ name: 'c', image: 'x', securityContext: own }] },
  };
  return importPod(pod, { profile: () => undefined, seccomp: () => undefined })[0];
}

describe('an imported pod', () => {
  it('has the default AppArmor rules in place of a Localhost profile, and lists that they may grant more', () => {
    const found = imported({ appArmorProfile: LOCALHOST });
    assert.deepEqual(
      found?.unmapped.map(({ why }) => why.replace(/^.*; /, '')),
      ['the default profile is used instead, which may grant more'],
    );
  });

  it('is refused if its Localhost seccomp profile cannot be read', () => {
    for (const [own, ofPod, place] of [
      [{ seccompProfile: LOCALHOST }, {}, 'spec.containers[0]'],
      [{ seccompProfile: null }, { seccompProfile: LOCALHOST }, 'spec'],
    ] as const)
      assert.throws(() => imported(own, ofPod), {
        code: 'ENTITLEMENTS_BAD_PROFILE',
        message: new RegExp(
          `${place.replaceAll(/[[\]]/g, String.raw`\$&`)}\\.securityContext\\.seccompProfile.*--seccomp-root`,
        ),
      });
  });

  it('takes the fields of the pod where the container has null', () => {
    const nonRoot = (own: unknown): boolean | undefined =>
      imported({ runAsNonRoot: own }, { runAsNonRoot: true })?.profile.nonRoot;
    assert.deepEqual([nonRoot(null), nonRoot(undefined), nonRoot(false)], [true, true, false]);
  });
});
