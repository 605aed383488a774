import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { boundingCapabilities } from '../../../base/kernel/index.ts';
import { builtinNames, builtinProfile, compile, detectKernel } from '../../../entitlements/index.ts';
import { serialiseSpec } from '../spec.ts';
import type { OciSpec } from '../spec.types.ts';
import { standaloneSpec } from './standalone.ts';
import { tryRuntime } from './try-runtime.ts';
import { validateOciConfig } from './validate.ts';

const runtimes = ['/usr/bin/crun', '/usr/sbin/runc', '/var/cache/portcullis-peers/bin/runc'].filter((path) =>
  existsSync(path),
);

function specOf(profile: string, runtime: string): OciSpec {
  const found = builtinProfile(profile);
  assert.ok(found);
  const architecture = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
  return standaloneSpec({
    settings: compile(
      { ...found, ambient: [] },
      { architecture, runtime, kernel: detectKernel(), heldCapabilities: boundingCapabilities() },
    ),
    ...{
      runtime,
      rootfs: 'rootfs',
      args: ['/bin/true'],
      env: ['PATH=/bin'],
      cwd: '/',
      terminal: false,
      hostname: 'x',
    },
    user: { uid: 1000, gid: 1000, additionalGids: [] },
  });
}

describe('a standalone configuration', () => {
  let bundle = '';
  before(() => {
    bundle = mkdtempSync(join(tmpdir(), 'portcullis-document-'));
    for (const folder of ['bin', 'proc', 'dev', 'sys'])
      mkdirSync(join(bundle, 'rootfs', folder), { recursive: true });
    cpSync('/bin/busybox', join(bundle, 'rootfs/bin/busybox'));
    symlinkSync('busybox', join(bundle, 'rootfs/bin/true'));
  });
  after(() => rmSync(bundle, { recursive: true }));

  for (const profile of builtinNames()) {
    for (const kind of ['crun', 'runc']) {
      it(`of profile ${profile} for ${kind} is valid, and every installed runtime accepts it`, async () => {
        const config = serialiseSpec(specOf(profile, kind));
        assert.deepEqual(validateOciConfig(config, 'config.json'), []);
        for (const runtime of runtimes)
          assert.deepEqual(await tryRuntime({ runtime, config, bundle }), {
            runtime,
            accepted: true,
            said: '',
          });
      });
    }
  }

  it("has the host's namespaces only if the profile has them", () => {
    const types = (spec: OciSpec): string[] => spec.linux.namespaces.map(({ type }) => type).sort();
    assert.deepEqual(types(specOf('baseline', 'crun')), ['ipc', 'mount', 'network', 'pid', 'uts']);
    assert.deepEqual(types(specOf('privileged', 'crun')), ['mount', 'uts']);
  });
});

describe('an invalid configuration', () => {
  const good = JSON.parse(serialiseSpec(specOf('baseline', 'runc'))) as Record<string, unknown>;
  const with_ = (change: (spec: Record<string, unknown>) => object): string[] =>
    validateOciConfig(JSON.stringify(change(structuredClone(good)), null, 2), 'c.json').map(
      ({ path, position }) => {
        assert.ok(position.line > 0 && position.column > 0);
        return path;
      },
    );
  const cases: [string, (spec: Record<string, unknown>) => object, RegExp][] = [
    ['without a process', ({ process: _process, ...rest }) => rest, /process|^$/],
    [
      'with a relative working folder',
      (s) => ({ ...s, process: { ...(s['process'] as object), cwd: 'x' } }),
      /process\.cwd/,
    ],
    [
      'without arguments',
      (s) => ({ ...s, process: { ...(s['process'] as object), args: [] } }),
      /process\.args/,
    ],
    [
      'with a uid below zero',
      (s) => ({ ...s, process: { ...(s['process'] as object), user: { uid: -1, gid: 0 } } }),
      /user\.uid/,
    ],
    [
      'with an effective capability that is not permitted',
      (s) => ({
        ...s,
        process: { ...(s['process'] as object), capabilities: { effective: ['CAP_KILL'], permitted: [] } },
      }),
      /capabilities\.effective/,
    ],
    [
      'with a host name and no uts namespace',
      (s) => ({ ...s, linux: { namespaces: [{ type: 'mount' }] } }),
      /hostname/,
    ],
    [
      'with a namespace named twice',
      (s) => ({ ...s, linux: { namespaces: [{ type: 'uts' }, { type: 'uts' }] } }),
      /namespaces\.1/,
    ],
    [
      'with an unknown namespace',
      (s) => ({ ...s, linux: { namespaces: [{ type: 'uts' }, { type: 'soul' }] } }),
      /namespaces/,
    ],
    [
      'with a sysctl of the host',
      (s) => ({ ...s, linux: { namespaces: [{ type: 'uts' }], sysctl: { 'net.ipv4.ip_forward': '1' } } }),
      /sysctl/,
    ],
    [
      'with an unknown action of a filter',
      (s) => ({ ...s, linux: { namespaces: [{ type: 'uts' }], seccomp: { defaultAction: 'ASK' } } }),
      /seccomp/,
    ],
  ];
  for (const [what, change, path] of cases) {
    it(what, () => {
      const paths = with_(change);
      assert.ok(
        paths.some((one) => path.test(one)),
        JSON.stringify(paths),
      );
    });
  }

  it('that is not JSON', () => {
    assert.equal(validateOciConfig('{', 'c.json').length > 0, true);
  });

  it('that is empty, such as the output of a program that failed', () => {
    for (const text of ['', '\n', '# only a comment\n'])
      assert.deepEqual(
        validateOciConfig(text, 'c.json').map(({ message }) => message),
        ['the file is empty'],
      );
  });

  it("a runtime's own message is returned", async () => {
    const [runtime] = runtimes;
    if (runtime === undefined) return;
    const trial = await tryRuntime({ runtime, config: JSON.stringify(good), bundle: '/nonexistent' });
    assert.equal(trial.accepted, false);
    assert.notEqual(trial.said, '');
  });
});
