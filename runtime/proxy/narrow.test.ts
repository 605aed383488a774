import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { builtinProfile, compile } from '../../entitlements/index.ts';
import type { Profile, Settings, Target } from '../../entitlements/index.ts';
import { criCodec } from '../cri/contract/services.ts';
import type { ContainerConfig, PodSandboxConfig } from '../cri/contract/contract.types.ts';
import { narrowed, resourceEdits } from './narrow.ts';
import type { Narrowed } from './narrow.ts';

const target: Target = {
  architecture: 'x86_64',
  runtime: 'other',
  kernel: { seccomp: true, apparmor: false, landlock: 0, expanded: {} },
};
const configs = criCodec<ContainerConfig>('ContainerConfig');
const pods = criCodec<PodSandboxConfig>('PodSandboxConfig');

function settingsOf(name: string, more: Partial<Profile> = {}): Settings {
  const profile = builtinProfile(name);
  assert.ok(profile);
  return compile({ ...profile, ...more }, target);
}

function narrow(
  settings: Settings,
  config: Parameters<typeof configs.encode>[0] = {},
  pod: Parameters<typeof pods.encode>[0] = {},
  addedMounts: readonly string[] = [],
): Narrowed {
  return narrowed({
    config: configs.decode(configs.encode(config)),
    sandbox: pods.decode(pods.encode(pod)),
    settings,
    defaultDevices: settingsOf('default').devices,
    heldCapabilities: ['CHOWN', 'SYS_ADMIN'],
    addedMounts,
    seccompFile: settings.seccomp === undefined ? undefined : '/filter.json',
  });
}

describe('the request within its settings', () => {
  it('drops rights that the settings lack, and adds none', () => {
    const { security } = narrow(settingsOf('baseline'), {
      linux: {
        securityContext: { capabilities: { addCapabilities: ['CHOWN'], dropCapabilities: ['KILL'] } },
      },
    });
    const edit = security['capabilities'];
    assert.ok(edit !== undefined && 'into' in edit);
    const [dropped] = Object.values(edit.into.fields);
    assert.ok(dropped !== undefined && 'set' in dropped);
    const names = dropped.set as string[];
    assert.deepEqual(
      ['KILL', 'NET_RAW', 'SYS_ADMIN'].filter((name) => !names.includes(name)),
      [],
    );
    assert.equal(names.includes('CHOWN'), false);
    assert.deepEqual(Object.keys(edit.into.fields), ['dropCapabilities']);
  });

  it('does not change "drop ALL", and grants a named profile exactly its capabilities', () => {
    const drop = {
      linux: { securityContext: { runAsUser: { value: 1000 }, capabilities: { dropCapabilities: ['all'] } } },
    };
    assert.equal('capabilities' in narrow(settingsOf('baseline'), drop).security, false);
    const annotations = { 'portcullis.dev/profile': 'restricted' };
    const edit = narrow(settingsOf('restricted'), drop, { annotations }).security['capabilities'];
    assert.deepEqual(edit, {
      into: {
        message: 'Capability',
        fields: { addCapabilities: { set: ['NET_BIND_SERVICE'] }, dropCapabilities: { set: ['ALL'] } },
      },
    });
  });

  it('writes the filter, the paths and the switches of the settings', () => {
    const settings = settingsOf('default', { readonlyRootfs: true, noNewPrivileges: true });
    const { security, beyond } = narrow(settings, {
      linux: { securityContext: { maskedPaths: ['/proc/other'], seccompProfilePath: 'unconfined' } },
    });
    assert.deepEqual(security['seccomp'], { set: { profileType: 2, localhostRef: '/filter.json' } });
    assert.deepEqual(security['seccompProfilePath'], { set: '' });
    assert.deepEqual(security['maskedPaths'], { set: ['/proc/other', ...settings.maskedPaths] });
    assert.deepEqual(security['readonlyRootfs'], { set: true });
    assert.deepEqual(security['noNewPrivs'], { set: true });
    assert.deepEqual(beyond, []);
  });

  it('adds the paths of the settings to a request that repeats one path often', () => {
    const settings = settingsOf('default');
    const [masked, readonly] = [settings.maskedPaths, settings.readonlyPaths];
    const often = Array.from({ length: masked.length + readonly.length }, () => '/proc/other');
    const { security } = narrow(settings, {
      linux: { securityContext: { maskedPaths: often, readonlyPaths: often } },
    });
    assert.deepEqual(security['maskedPaths'], { set: ['/proc/other', ...masked] });
    assert.deepEqual(security['readonlyPaths'], { set: ['/proc/other', ...readonly] });
  });

  it('makes mounts below a read-only path read-only too, each after the paths above it', () => {
    const paths = { masked: ['/srv/secret'], readonly: ['/etc', '/srv'] };
    const settings = settingsOf('default', { paths });
    const at = (...paths: string[]) => paths.map((containerPath) => ({ containerPath, hostPath: '/volume' }));
    const { security } = narrow(settings, {
      mounts: at('/srv/a/b', '/srv/a/', 'srv/./c', '/srv-2/d'),
      linux: { securityContext: { readonlyPaths: ['/srv/a/b/c'] } },
    });
    assert.deepEqual(security['readonlyPaths'], {
      set: [
        ...['/etc', '/srv', '/etc/hostname', '/etc/hosts', '/etc/resolv.conf'],
        ...['/srv/a', '/srv/c', '/srv/secret', '/srv/a/b', '/srv/a/b/c'],
      ],
    });
    const { security: usual } = narrow(settingsOf('default'), { mounts: at('/srv/a') });
    assert.deepEqual(usual['readonlyPaths'], { set: settingsOf('default').readonlyPaths });
  });

  it('makes mounts that the request does not name read-only in a read-only path', () => {
    const settings = settingsOf('default', { paths: { masked: [], readonly: ['/srv'] } });
    const addedMounts = ['/srv/a', '/srv/a/disk', '/data/disk'];
    const { security } = narrow(settings, {}, {}, addedMounts);
    assert.deepEqual(security['readonlyPaths'], { set: ['/srv', '/srv/a', '/srv/a/disk'] });
  });

  it('reports settings that no field can express', () => {
    const limits = { NOFILE: { soft: 10n, hard: 10n } };
    const { beyond } = narrow(
      settingsOf('default', { network: 'none', devices: [], limits, resources: { pids: 5n } }),
    );
    assert.deepEqual(
      beyond.map((sentence) => sentence.split(/[ :]/)[0]),
      ['network.none', 'limits', 'fewer', 'resources.pids'],
    );
  });

  it('does not treat a privileged container as a restricted container', () => {
    const privileged = { linux: { securityContext: { privileged: true } } };
    assert.deepEqual(narrow(settingsOf('privileged'), privileged), {
      ...{ security: {}, resources: {}, readonlyVolumes: false, beyond: [] },
    });
    const { beyond } = narrow(settingsOf('default'), privileged);
    assert.match(beyond.join(), /SYS_ADMIN.*filter.*masked.*read-only paths/);
    const paths = { masked: [], readonly: ['/srv'] };
    assert.deepEqual(narrow(settingsOf('privileged', { paths }), privileged).beyond, [
      'a privileged container has no read-only paths',
    ]);
  });

  it('uses the same user as the backend if a user is given by name and by id', () => {
    const user = { runAsUser: { value: 1000 } };
    const settings = settingsOf('restricted');
    assert.ok(narrow(settings, { linux: { securityContext: user } }));
    assert.throws(
      () => narrow(settings, { linux: { securityContext: { ...user, runAsUsername: 'root' } } }),
      /user 0/,
    );
  });

  it('treats a pod whose root is the root of the host as a pod without a user namespace', () => {
    const podOf = (hostId: number) => {
      const ranges = [{ hostId, containerId: 0, length: 65_536 }];
      const usernsOptions = { mode: 0, uids: ranges, gids: ranges } as const;
      return { linux: { securityContext: { namespaceOptions: { usernsOptions } } } };
    };
    const settings = settingsOf('restricted');
    assert.ok(narrow(settings, {}, podOf(65_536)));
    assert.throws(() => narrow(settings, {}, podOf(0)), /user 0/);
  });

  it('sets limits of the ceiling, and refuses more', () => {
    assert.deepEqual(resourceEdits(undefined, { memory: 1000 }), { memoryLimitInBytes: { set: 1000 } });
    assert.deepEqual(resourceEdits(undefined, undefined), {});
    const asked = configs.decode(configs.encode({ linux: { resources: { memoryLimitInBytes: 2000 } } }));
    assert.throws(() => resourceEdits(asked.linux?.resources, { memory: 1000 }), /RUNTIME_OUTSIDE_PROFILE/);
  });
});
