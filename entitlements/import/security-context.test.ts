import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { importPod } from './security-context.ts';
import type { ImportedContainer } from './security-context.ts';

const LOCALHOST = { type: 'Localhost', localhostProfile: 'a' };

function imported(
  own: object,
  ofPod: object = {},
  { annotations = {}, container = {} }: { readonly annotations?: object; readonly container?: object } = {},
): ImportedContainer | undefined {
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', annotations },
    spec: {
      securityContext: ofPod,
      containers: [{ name: 'c', image: 'x', securityContext: own, ...container }],
    },
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

  it('may gain privileges where allowPrivilegeEscalation is null, as if it were absent', () => {
    const bound = (value: unknown): boolean | undefined =>
      imported({ allowPrivilegeEscalation: value })?.profile.noNewPrivileges;
    assert.deepEqual([bound(undefined), bound(null), bound(true), bound(false)], [false, false, false, true]);
  });

  it('has the AppArmor profile of an annotation that names the container, below its own field', () => {
    const annotation = 'container.apparmor.security.beta.kubernetes.io/c';
    const confined = (own: object, ofPod: object, value: unknown): unknown =>
      imported(own, ofPod, { annotations: { [annotation]: value } })?.profile.apparmor;
    const field = (type: string): object => ({ appArmorProfile: { type } });
    const [unconfined, byDefault] = ['Unconfined', 'RuntimeDefault'].map(
      (type) => imported(field(type))?.profile.apparmor,
    );
    assert.notDeepEqual(unconfined, byDefault);
    assert.deepEqual(confined({}, {}, 'unconfined'), unconfined);
    assert.deepEqual(confined({}, field('Unconfined'), 'runtime/default'), byDefault);
    assert.deepEqual(confined(field('RuntimeDefault'), {}, 'unconfined'), byDefault);
    const local = imported({}, {}, { annotations: { [annotation]: 'localhost/a' } });
    assert.deepEqual(
      local?.unmapped.map(({ part }) => part),
      [`metadata.annotations.${annotation}.localhostProfile`],
    );
    for (const value of ['localhost/', 'default', 7])
      assert.throws(() => confined({}, {}, value), { code: 'ENTITLEMENTS_BAD_PROFILE' });
  });

  it('may have other annotations of Portcullis, and none that is mistyped', () => {
    const services = '[{"name":"web","ports":["80:8080"]}]';
    const annotations = { 'portcullis.dev/dns': 'shop', 'portcullis.dev/services': services };
    assert.deepEqual(imported({}, {}, { annotations }), imported({}, {}));
    const mistyped = { 'portcullis.dev/profle': 'web' };
    assert.throws(() => imported({}, {}, { annotations: mistyped }), {
      message: /annotations\.portcullis\.dev\/profle: there is no such annotation; known .* profile, /u,
    });
  });

  it('lists its block devices, whose numbers are not in the manifest', () => {
    const container = { volumeDevices: [{ name: 'd', devicePath: '/dev/xvda' }] };
    const parts = imported({}, {}, { container })?.notes.map(({ part }) => part);
    assert.ok(parts?.includes('spec.containers[0].volumeDevices'), String(parts));
  });
});
