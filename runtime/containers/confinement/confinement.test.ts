import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { createProver, detectKernel, loadProfiles } from '../../../entitlements/index.ts';
import type { ContainerConfig } from '../../cri/contract/contract.types.ts';
import type { SandboxRecord } from '../../pods/record.ts';
import { hostPathsHere } from '../../host-paths/in-process.fixture.ts';
import { createConfinement } from './confinement.ts';

const profiles = await loadProfiles({ paths: [] });
const kernel = detectKernel();
const prover = createProver();
after(() => prover.close());
const confinement = createConfinement({
  profiles: () => profiles,
  target: (runtime) => ({ architecture: 'x86_64', runtime, kernel }),
  prover,
  apparmor: { label: () => Promise.resolve(undefined) },
  selinux: { labels: () => undefined, relabel: () => Promise.resolve() },
  paths: hostPathsHere,
});
const config = {
  metadata: { name: 'main', attempt: 0 },
  devices: [],
  CDIDevices: [],
} as unknown as ContainerConfig;

function sandbox(
  part: { sysctls?: Record<string, string>; annotations?: Record<string, string> } = {},
): SandboxRecord {
  return {
    config: { annotations: part.annotations ?? {}, linux: { sysctls: part.sysctls ?? {} } },
  } as unknown as SandboxRecord;
}
const access = { devices: [], nodes: [], cdi: [], paths: [], sharedPaths: [] };
const baseline = [{ rule: 'policy.yaml:1', ceiling: 'baseline' }];

test('the prover is started for the first container only, and a later pod does not start it again', () => {
  let starts = 0;
  const { warm } = createConfinement({
    profiles: () => profiles,
    target: (runtime) => ({ architecture: 'x86_64', runtime, kernel }),
    prover: { ...prover, warm: () => (starts += 1) },
    apparmor: { label: () => Promise.resolve(undefined) },
    selinux: { labels: () => undefined, relabel: () => Promise.resolve() },
    paths: hostPathsHere,
  });
  assert.equal(starts, 0);
  warm();
  warm();
  assert.equal(starts, 1);
});

test('a verdict without a ceiling is refused and does not mean "no limit"', async () => {
  await assert.rejects(
    confinement.confine({
      config,
      sandbox: sandbox(),
      ceilings: [],
      requested: undefined,
      runtime: 'crun',
      access,
      sharesHostPids: false,
    }),
    {
      code: 'RUNTIME_NO_CEILING',
    },
  );
});

test('an undefined ceiling or profile is refused by name', async () => {
  const unknown = [{ rule: 'policy.yaml:1', ceiling: 'nope' }];
  await assert.rejects(
    confinement.confine({
      config,
      sandbox: sandbox(),
      ceilings: unknown,
      requested: undefined,
      runtime: 'crun',
      access,
      sharesHostPids: false,
    }),
    {
      code: 'RUNTIME_UNKNOWN_PROFILE',
    },
  );
  const named = sandbox({ annotations: { 'portcullis.dev/profile.main': 'nope' } });
  await assert.rejects(
    confinement.confine({
      config,
      sandbox: named,
      ceilings: baseline,
      requested: undefined,
      runtime: 'crun',
      access,
      sharesHostPids: false,
    }),
    {
      code: 'RUNTIME_UNKNOWN_PROFILE',
    },
  );
});

test('masked paths of the image are refused in a handler with a separate kernel, unless the rule allows it', async () => {
  const confine = (path: string, allowed = false, mounts: readonly string[] = []) =>
    confinement.confine({
      config: {
        ...config,
        mounts: mounts.map((containerPath) => ({ containerPath })),
        linux: { securityContext: { maskedPaths: [path, '/proc/kcore'], readonlyPaths: ['/proc/sys'] } },
      } as unknown as ContainerConfig,
      sandbox: sandbox(),
      ceilings: baseline.map((ceiling) => ({ ...ceiling, ...(allowed && { onDegraded: 'allow' as const }) })),
      requested: undefined,
      runtime: 'other',
      guestKernel: { handler: 'gvisor', filtersCalls: true },
      access,
      sharesHostPids: false,
    });
  await assert.rejects(confine('/etc/secret'), { code: 'RUNTIME_GUEST_UNENFORCEABLE' });
  const { settings } = await confine('/etc/secret', true);
  assert.match(settings.degraded.join(), /paths apply there: \/etc\/secret$/);
  // These files show the separate kernel, which protects itself.
  await confine('/proc/keys', false, ['/srv', '/system']);
  // A volume there shows files of the node.
  for (const mount of ['/sys', '/sys/', '/srv/../sys/firmware', '/sys/firmware/key'])
    await assert.rejects(confine('/sys/firmware', false, [mount]), {
      code: 'RUNTIME_GUEST_UNENFORCEABLE',
    });
});

test('the ceiling limits the sysctls of the pod: safe sysctls are allowed and others are refused, however they are written', async () => {
  const confine = (name: string) =>
    confinement.confine({
      config,
      sandbox: sandbox({ sysctls: { [name]: '1' } }),
      ceilings: baseline,
      requested: undefined,
      runtime: 'crun',
      access,
      sharesHostPids: false,
    });
  await confine('net.ipv4.tcp_syncookies');
  await assert.rejects(confine('kernel.msgmax'), { code: 'ENTITLEMENTS_CEILING_EXCEEDED' });
  await assert.rejects(confine('kernel/msgmax'), { code: 'ENTITLEMENTS_CEILING_EXCEEDED' });
});

test('the signed statements of the publisher also limit the container: their intersection applies, and an unreadable statement is refused', async () => {
  const statement = (rest: Readonly<Record<string, unknown>>, digit: string) => ({
    attestation: `sha256:${digit.repeat(64)}`,
    profile: {
      apiVersion: 'portcullis.dev/v1alpha1',
      kind: 'EntitlementProfile',
      metadata: { name: 'app' },
      ...rest,
    },
  });
  const confine = (
    requested: Parameters<typeof confinement.confine>[0]['requested'],
    addCapabilities: readonly string[] = [],
  ) =>
    confinement.confine({
      config: {
        ...config,
        linux: { securityContext: { capabilities: { addCapabilities }, maskedPaths: [], readonlyPaths: [] } },
      } as unknown as ContainerConfig,
      sandbox: sandbox(),
      ceilings: baseline,
      requested,
      runtime: 'crun',
      access,
      sharesHostPids: false,
    });
  const bare = { capabilities: { drop: ['ALL'] } };
  const bounded = await confine([statement(bare, 'a')]);
  assert.deepEqual(bounded.settings.capabilities.bounding, []);
  assert.ok((await confine(undefined)).settings.capabilities.bounding.length > 0);
  await confine(undefined, ['CHOWN']);
  await assert.rejects(confine([statement(bare, 'a')], ['CHOWN']), {
    code: 'ENTITLEMENTS_CEILING_EXCEEDED',
    message: /the publisher's signed statement lacks the capability CHOWN/,
  });
  await assert.rejects(confine([statement({}, 'a'), statement(bare, 'b')], ['CHOWN']), {
    code: 'ENTITLEMENTS_CEILING_EXCEEDED',
  });
  await assert.rejects(confine([statement({ entitlements: ['no.such'] }, 'c')]), {
    code: 'ENTITLEMENTS_BAD_PROFILE',
    message: /sha256:c+:8:\d+.*no\.such/,
  });
  await assert.rejects(confine([{ attestation: 'sha256:d', profile: 7 }]), {
    code: 'ENTITLEMENTS_BAD_PROFILE',
  });
});

test('without SELinux, selinux_options are reported as not applied; options beyond a ceiling are refused nevertheless', async () => {
  const confine = (selinuxOptions: object) =>
    confinement.confine({
      config: {
        ...config,
        linux: { securityContext: { maskedPaths: [], readonlyPaths: [], selinuxOptions } },
      } as unknown as ContainerConfig,
      sandbox: sandbox(),
      ceilings: baseline,
      requested: undefined,
      runtime: 'crun',
      access,
      sharesHostPids: false,
    });
  const none = { user: '', role: '', type: '', level: '' };
  const { settings, labels } = await confine({ ...none, type: 'container_t', level: 's0:c1,c2' });
  assert.equal(labels.selinux, undefined);
  assert.deepEqual(
    settings.degraded.filter((line) => line.includes('selinux')),
    [
      'selinux_options (type container_t, level s0:c1,c2) are not applied: SELinux is not enabled in this kernel',
    ],
  );
  assert.deepEqual(
    (await confine(none)).settings.degraded.filter((line) => line.includes('selinux')),
    [],
  );
  await assert.rejects(confine({ ...none, type: 'spc_t' }), { code: 'ENTITLEMENTS_CEILING_EXCEEDED' });
  await assert.rejects(confine({ ...none, level: 'x' }), { code: 'RUNTIME_BAD_SELINUX' });
});
