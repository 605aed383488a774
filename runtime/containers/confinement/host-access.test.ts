import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { builtinProfile, checkProfiles } from '../../../entitlements/index.ts';
import type { Profile } from '../../../entitlements/index.ts';
import { boundHostAccess } from './host-access.ts';

const baseline = builtinProfile('baseline');
const privileged = builtinProfile('privileged');
const kvm = checkProfiles([
  {
    file: 'kvm',
    text: 'apiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\nmetadata: { name: kvm }\nentitlements: [host.device.kvm]\n',
  },
]).profiles[0]?.profile;

describe('a device that a container requests', () => {
  const asked = (
    major: number,
    minor: number,
    access: string,
    cdi: readonly string[] = [],
  ): Parameters<typeof boundHostAccess>[0] => ({
    devices: ['/dev/it'],
    nodes: [{ type: 'c', major, minor, access }],
    cdi,
    paths: [],
    sharedPaths: [],
  });
  const table: readonly (readonly [
    name: string,
    ceiling: Profile | undefined,
    asked: Parameters<typeof boundHostAccess>[0],
    granted: boolean,
  ])[] = [
    ['any device, under privileged', privileged, asked(1, 1, 'rwm'), true],
    ['/dev/kvm, under a ceiling with host.device.kvm', kvm, asked(10, 232, 'rw'), true],
    ['another device, under that ceiling', kvm, asked(10, 229, 'rw'), false],
    ['/dev/kvm by CDI, under that ceiling', kvm, asked(10, 232, 'rw', ['vendor/kvm=0']), false],
    ['/dev/kvm, under baseline', baseline, asked(10, 232, 'r'), false],
    ['/dev/null, which every container has, under baseline', baseline, asked(1, 3, 'rwm'), true],
  ];
  for (const [name, profile, access, granted] of table) {
    it(`${granted ? 'is granted' : 'is refused'}: ${name}`, () => {
      assert.ok(profile !== undefined);
      const bound = (): void => boundHostAccess(access, [{ name: 'it', profile }]);
      if (granted) bound();
      else assert.throws(bound, { code: 'RUNTIME_DEVICE_NOT_GRANTED' });
    });
  }
});
