import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { defaultProfile } from '../profile/builtin.ts';
import { importCustomResource } from './custom-resource.ts';
import type { Imported } from './imported.ts';

const read = (defaultAction: string): Imported =>
  importCustomResource(
    {
      apiVersion: 'security-profiles-operator.x-k8s.io/v1beta1',
      kind: 'SeccompProfile',
      metadata: { name: 'derived' },
      spec: {
        defaultAction,
        baseProfileName: 'base',
        syscalls: [{ action: 'SCMP_ACT_ERRNO', names: ['bpf'] }],
      },
    },
    { architecture: 'x86_64', capabilities: defaultProfile().capabilities },
  );

describe('a SeccompProfile with a base profile', () => {
  for (const action of ['SCMP_ACT_ALLOW', 'SCMP_ACT_LOG'])
    it(`is refused with the default ${action}: the denials of the base would be lost`, () =>
      assert.throws(() => read(action), {
        code: 'ENTITLEMENTS_BAD_PROFILE',
        message: /spec\.baseProfileName.*denials in it would be lost/,
      }));

  it('is imported without the grants of the base if the default denies', () =>
    assert.deepEqual(
      read('SCMP_ACT_ERRNO').unmapped.map(({ part }) => part),
      ['spec.baseProfileName'],
    ));
});
