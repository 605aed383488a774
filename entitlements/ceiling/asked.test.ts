import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { assertNearLinear, untilRefused } from '../../test/fixtures/cost.ts';
import { contains } from '../compare/contains.ts';
import { builtinProfile, defaultProfile } from '../profile/builtin.ts';
import type { Profile } from '../profile/model.ts';
import { decide } from '../seccomp/decision.ts';
import { decisionFor } from '../seccomp/policy.ts';
import { askedFromSecurityContext } from './asked.ts';
import type { SecurityContextRequest } from './asked.ts';
import { bound, boundPod } from './bound.ts';
import type { Ceiling } from './bound.ts';

/** A daemon without SYS_RESOURCE, as on many virtual machines. */
const HELD = [
  'CAP_CHOWN',
  'CAP_NET_ADMIN',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_RAW',
  'CAP_SYS_ADMIN',
  'CAP_SYS_PTRACE',
];

function request(changes: Partial<SecurityContextRequest> = {}): SecurityContextRequest {
  return {
    privileged: false,
    addCapabilities: [],
    dropCapabilities: [],
    addAmbient: [],
    noNewPrivs: false,
    readonlyRootfs: false,
    hostNetwork: false,
    hostPid: false,
    hostIpc: false,
    boundingCapabilities: HELD,
    ...changes,
  };
}

function builtin(name: string): Profile {
  const profile = builtinProfile(name);
  assert.ok(profile);
  return profile;
}

const ceiling = (name: string): Ceiling => ({ name, profile: builtin(name) });

function effective(changes: Partial<SecurityContextRequest>, ...ceilings: string[]): Profile {
  return bound({ ...askedFromSecurityContext(request(changes)), ceilings: ceilings.map(ceiling) }).effective;
}

function answer(profile: Profile, call: string, ...args: bigint[]): string {
  return profile.syscalls.filtered ? decide(decisionFor(profile.syscalls, call), args) : 'unfiltered';
}

describe('what a security context asks for', () => {
  it('is the default profile when it asks for nothing', () => {
    const { asked, explicit } = askedFromSecurityContext(request({ seccomp: { type: 'RuntimeDefault' } }));
    assert.deepEqual(asked, defaultProfile());
    assert.deepEqual(explicit, []);
  });

  it('adds and drops capabilities in containerd’s order', () => {
    const cases: [string[], string[], string[]][] = [
      [[], ['ALL'], []],
      [['NET_ADMIN'], ['ALL'], ['NET_ADMIN']],
      [['ALL'], [], ['CHOWN', 'NET_ADMIN', 'NET_BIND_SERVICE', 'NET_RAW', 'SYS_ADMIN', 'SYS_PTRACE']],
      [['ALL'], ['CAP_SYS_ADMIN', 'chown'], ['NET_ADMIN', 'NET_BIND_SERVICE', 'NET_RAW', 'SYS_PTRACE']],
      [['ALL'], ['ALL'], []],
      [['CHOWN'], ['ALL', 'CHOWN'], []],
    ];
    for (const [addCapabilities, dropCapabilities, expected] of cases) {
      assert.deepEqual(
        askedFromSecurityContext(request({ addCapabilities, dropCapabilities })).asked.capabilities,
        expected,
      );
    }
    assert.throws(() => askedFromSecurityContext(request({ addCapabilities: ['BOGUS'] })), {
      code: 'ENTITLEMENTS_UNKNOWN_CAPABILITY',
    });
  });

  it('honours ambient capabilities, which count as added', () => {
    const { asked, explicit } = askedFromSecurityContext(
      request({ addAmbient: ['NET_BIND_SERVICE'], dropCapabilities: ['ALL'] }),
    );
    assert.deepEqual([asked.capabilities, asked.ambient], [['NET_BIND_SERVICE'], ['NET_BIND_SERVICE']]);
    assert.deepEqual(
      explicit.map((demand) => demand.kind),
      ['capability', 'ambient-capability'],
    );
  });

  it('lets the default filter follow the capabilities', () => {
    const seccomp = { type: 'RuntimeDefault' } as const;
    const mounts = (changes: Partial<SecurityContextRequest>): string =>
      answer(askedFromSecurityContext(request({ seccomp, ...changes })).asked, 'mount');
    assert.deepEqual([mounts({}), mounts({ addCapabilities: ['SYS_ADMIN'] })], ['errno 1', 'allow']);
  });

  it('has no filter when seccomp is Unconfined or absent, and the ceiling applies its own filter', () => {
    for (const changes of [{}, { seccomp: { type: 'Unconfined' } as const }]) {
      assert.equal(answer(effective(changes, 'privileged'), 'mount'), 'unfiltered');
      assert.equal(answer(effective(changes, 'baseline'), 'mount'), 'errno 1');
      assert.equal(answer(effective({ ...changes, privileged: true }, 'privileged'), 'mount'), 'unfiltered');
    }
  });

  it('reads a Localhost filter, and bounds it by the ceiling', () => {
    const json = {
      defaultAction: 'SCMP_ACT_ALLOW',
      syscalls: [{ names: ['chmod'], action: 'SCMP_ACT_ERRNO' }],
    };
    const changes = { seccomp: { type: 'Localhost', json } as const };
    const [free, bounded] = [effective(changes, 'privileged'), effective(changes, 'baseline')];
    assert.deepEqual([answer(free, 'chmod'), answer(free, 'mount')], ['errno 1', 'allow']);
    assert.deepEqual(
      [answer(bounded, 'chmod'), answer(bounded, 'mount'), answer(bounded, 'read')],
      ['errno 1', 'errno 1', 'allow'],
    );
  });

  it('keeps a named profile’s filter and paths whatever a kubelet sends by default', () => {
    const profile = {
      ...builtin('restricted'),
      paths: { masked: ['/proc/kcore', '/proc/sys/net'], readonly: [] },
    };
    const { asked } = askedFromSecurityContext(
      request({
        profile,
        seccomp: { type: 'Unconfined' },
        maskedPaths: ['/proc/acpi'],
        readonlyPaths: ['/proc/bus'],
      }),
    );
    assert.equal(asked.syscalls, profile.syscalls);
    assert.deepEqual(asked.paths, {
      masked: ['/proc/acpi', '/proc/kcore', '/proc/sys/net'],
      readonly: ['/proc/bus'],
    });
    assert.ok(asked.noNewPrivileges);
  });

  it('refuses a context that asks for more than the profile that the pod names', () => {
    const profile = builtin('restricted');
    for (const changes of [
      { privileged: true },
      { hostNetwork: true },
      { hostPid: true },
      { maskedPaths: [] },
    ]) {
      assert.throws(() => askedFromSecurityContext(request({ profile, ...changes })), {
        code: 'ENTITLEMENTS_CEILING_EXCEEDED',
      });
    }
  });

  it('has the default AppArmor rules unless it asks for others, which is a demand', () => {
    assert.equal(askedFromSecurityContext(request()).asked.apparmor, 'default');
    assert.equal(askedFromSecurityContext(request({ apparmor: 'RuntimeDefault' })).asked.apparmor, 'default');
    assert.equal(effective({ apparmor: 'Unconfined' }, 'privileged').apparmor, 'unconfined');
    assert.throws(() => effective({ apparmor: 'Unconfined' }, 'baseline'), /without an AppArmor profile/);
    assert.throws(
      () => askedFromSecurityContext(request({ profile: builtin('restricted'), apparmor: 'Unconfined' })),
      /AppArmor/,
    );
  });

  it('replaces the default AppArmor rules by a profile of the node if the ceiling does not demand them, and else applies both', () => {
    assert.equal(effective({ apparmor: 'Localhost' }, 'privileged').apparmor, 'unconfined');
    assert.equal(effective({ apparmor: 'Localhost' }, 'baseline').apparmor, 'default');
    assert.equal(
      askedFromSecurityContext(request({ profile: builtin('restricted'), apparmor: 'Localhost' })).asked
        .apparmor,
      'default',
    );
  });

  it('may choose among the SELinux types that confine, and no others', () => {
    effective({ selinux: { type: 'container_init_t' } }, 'restricted');
    effective({ selinux: { type: 'spc_t', user: 'root' } }, 'privileged');
    assert.throws(() => effective({ selinux: { type: 'spc_t' } }, 'baseline'), /SELinux type spc_t/);
    assert.throws(() => effective({ selinux: { role: 'sysadm_r' } }, 'baseline'), /SELinux role sysadm_r/);
  });

  it('unmasks what the ceiling allows if it names no paths and has a user namespace', () => {
    assert.deepEqual(effective({ unmaskedUnsaid: true }, 'privileged').paths, { masked: [], readonly: [] });
    assert.deepEqual(effective({ unmaskedUnsaid: true }, 'baseline').paths, builtin('baseline').paths);
  });

  it('never has the network class of the host in a separate network', () => {
    const { asked } = askedFromSecurityContext(request({ profile: builtin('privileged') }));
    assert.deepEqual([asked.network, asked.hostNamespaces], ['admin', []]);
  });

  it('of a privileged container is all that the daemon holds', () => {
    const { asked } = askedFromSecurityContext(request({ privileged: true, hostNetwork: true }));
    assert.deepEqual(asked.capabilities, [
      'CHOWN',
      'NET_ADMIN',
      'NET_BIND_SERVICE',
      'NET_RAW',
      'SYS_ADMIN',
      'SYS_PTRACE',
    ]);
    assert.ok(
      !asked.syscalls.filtered && asked.hostDevices && asked.writableSys && asked.paths.masked.length === 0,
    );
    assert.deepEqual([asked.network, asked.hostNamespaces, asked.ambient], ['host', ['network'], []]);
  });
});

describe('the ceiling', () => {
  it('silently lowers requests that nobody named', () => {
    const granted = effective({}, 'baseline');
    assert.ok(!granted.capabilities.includes('NET_RAW'));
    assert.ok(contains(builtin('baseline'), granted).yes);
    assert.deepEqual(effective({}, 'baseline', 'restricted').capabilities, ['NET_BIND_SERVICE']);
  });

  it('refuses each named demand that it lacks, all in one error', () => {
    const changes = { addCapabilities: ['NET_RAW', 'CHOWN', 'SYS_ADMIN'], hostPid: true };
    assert.throws(() => effective(changes, 'baseline'), {
      code: 'ENTITLEMENTS_CEILING_EXCEEDED',
      kind: 'denied',
      message:
        /the ceiling baseline lacks the host's pid namespace, the capability NET_RAW, the capability SYS_ADMIN;/,
    });
    for (const more of [
      { privileged: true },
      { hostNetwork: true },
      { hostIpc: true },
      { maskedPaths: [] },
      { readonlyPaths: [] },
    ]) {
      assert.throws(() => effective(more, 'baseline'), { code: 'ENTITLEMENTS_CEILING_EXCEEDED' });
      assert.ok(effective(more, 'privileged'));
    }
    assert.throws(() => effective({ addCapabilities: ['CHOWN'] }, 'baseline', 'restricted'), {
      message: /the ceiling restricted lacks the capability CHOWN/,
    });
  });

  it('refuses writable cgroups that are asked for, and takes away those that are offered', () => {
    const { profile: baseline } = ceiling('baseline');
    const granting = { name: 'granting', profile: { ...baseline, writableCgroups: true } };
    const given = (writableCgroups: 'asked' | 'offered' | undefined, of: Ceiling, profile?: Profile) => {
      const changes = {
        ...(writableCgroups !== undefined && { writableCgroups }),
        ...(profile !== undefined && { profile }),
      };
      return bound({ ...askedFromSecurityContext(request(changes)), ceilings: [of] }).effective
        .writableCgroups;
    };
    for (const [from, of, expected] of [
      ['asked', granting, true],
      ['offered', granting, true],
      ['offered', ceiling('baseline'), false],
      [undefined, granting, false],
      ['asked', ceiling('privileged'), true],
    ] as const)
      assert.equal(given(from, of), expected, `${from} under ${of.name}`);
    assert.throws(() => given('asked', ceiling('baseline')), {
      code: 'ENTITLEMENTS_CEILING_EXCEEDED',
      message: /the ceiling baseline lacks writable cgroups \(kernel\.cgroups\)/,
    });
    assert.equal(given(undefined, granting, granting.profile), true, 'a profile that the pod names');
    assert.equal(given('offered', granting, baseline), false, 'a profile without them counts');
    assert.throws(() => given('asked', granting, baseline), /the profile that the pod names lacks/);
  });

  it('is also what the publisher’s signed entitlements are', () => {
    const { asked, explicit } = askedFromSecurityContext(request({ addCapabilities: ['CHOWN'] }));
    const bounds = { asked, explicit, requested: builtin('restricted'), ceilings: [ceiling('baseline')] };
    assert.throws(() => bound(bounds), {
      message: /the publisher's signed statement lacks the capability CHOWN/,
    });
    assert.deepEqual(bound({ ...bounds, explicit: [] }).effective.capabilities, ['NET_BIND_SERVICE']);
  });

  it('of a pod refuses host namespaces, privileged mode and unsafe sysctls', () => {
    const pod = {
      hostNetwork: false,
      hostPid: false,
      hostIpc: false,
      privileged: false,
      sysctls: ['net.ipv4.ip_unprivileged_port_start', 'kernel/shm_rmid_forced'],
    };
    assert.deepEqual(boundPod(pod, [ceiling('baseline'), ceiling('privileged')]), { networkClass: 'user' });
    assert.deepEqual(
      boundPod({ ...pod, hostNetwork: true, sysctls: ['kernel.msgmax'] }, [ceiling('privileged')]),
      {
        networkClass: 'host',
      },
    );
    for (const [changes, name] of [
      [{ hostNetwork: true }, /network namespace/],
      [{ hostPid: true }, /pid namespace/],
      [{ hostIpc: true }, /ipc namespace/],
      [{ privileged: true }, /privileged mode/],
      [{ sysctls: ['kernel.msgmax'] }, /sysctl kernel.msgmax/],
    ] as const) {
      assert.throws(() => boundPod({ ...pod, ...changes }, [ceiling('baseline')]), {
        code: 'ENTITLEMENTS_CEILING_EXCEEDED',
        message: name,
      });
    }
  });
});

it('only privileged and host.ports grant ports of the host', () => {
  const pod = { hostNetwork: false, hostPid: false, hostIpc: false, privileged: false, sysctls: [] };
  const asking = { ...pod, hostPorts: ['8080/tcp', '53/udp'] };
  for (const name of ['baseline', 'restricted', 'default'] as const)
    assert.throws(
      () => boundPod(asking, [ceiling(name)]),
      { code: 'ENTITLEMENTS_CEILING_EXCEEDED', message: /the host port 8080\/tcp, the host port 53\/udp/u },
      name,
    );
  assert.throws(() => boundPod(asking, [ceiling('privileged'), ceiling('baseline')]), {
    code: 'ENTITLEMENTS_CEILING_EXCEEDED',
  });
  boundPod(asking, [ceiling('privileged')]);
  const baseline = ceiling('baseline');
  boundPod(asking, [{ ...baseline, profile: { ...baseline.profile, hostPorts: true } }]);
});

/** All host ports that a pod can request: one request can contain all of them. */
const everyHostPort = ['tcp', 'udp', 'sctp'].flatMap((protocol) =>
  Array.from({ length: 65_535 }, (_, index) => `${index + 1}/${protocol}`),
);

it('a pod that asks for every port of the host is bounded, or refused with a short message', async () => {
  const pod = {
    hostNetwork: false,
    hostPid: false,
    hostIpc: false,
    privileged: false,
    sysctls: [],
    hostPorts: everyHostPort,
  };
  assert.deepEqual(boundPod(pod, [ceiling('privileged')]), { networkClass: 'host' });
  assert.throws(
    () => boundPod(pod, [ceiling('baseline')]),
    (thrown: Error & { code?: string }) => {
      assert.equal(thrown.code, 'ENTITLEMENTS_CEILING_EXCEEDED');
      assert.match(thrown.message, /the host port 16\/tcp and 196589 more/u);
      assert.ok(thrown.message.length < 2000);
      return true;
    },
  );
  await assertNearLinear(
    'a refusal',
    (n) =>
      untilRefused(() => boundPod({ ...pod, hostPorts: everyHostPort.slice(0, n) }, [ceiling('baseline')])),
    { n: 20_000 },
  );
});
