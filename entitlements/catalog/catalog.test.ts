import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { capabilityName } from '../capabilities/capability-names.ts';
import { contains } from '../compare/contains.ts';
import { builtinProfile, defaultProfile } from '../profile/builtin.ts';
import type { Profile } from '../profile/model.ts';
import { isUnder } from '../profile/paths.ts';
import { policyAllowing, policyWithout } from '../seccomp/call-set.ts';
import { decide } from '../seccomp/decision.ts';
import { policyOfCapability } from '../seccomp/default-policy.ts';
import {
  decisionFor,
  filteredPolicy,
  joinPolicies,
  meetPolicies,
  policyExcess,
  policyText,
} from '../seccomp/policy.ts';
import { isSyscallName } from '../seccomp/syscalls.ts';
import { CATALOG, entitlementNamed } from './catalog.ts';
import { composed } from './compose.ts';
import { conflictsOf } from './conflicts.ts';
import { allows } from './fixtures/probe.ts';
import { partOf, unionParts } from './part.ts';
import type { Part } from './part.ts';

function part(text: string): Part {
  const found = entitlementNamed(text);
  assert.ok(!('problem' in found), 'problem' in found ? found.problem : '');
  return partOf(text, found);
}

function compose(...names: string[]): Profile {
  return composed(unionParts('', names.map(part)));
}

/** Each entry by its name, with its example if it takes an argument. */
const spelled = [...CATALOG.values()].map((entry) =>
  entry.argument === undefined ? entry.name : `${entry.name}=${entry.argument.example}`,
);
const more = [
  'network.egress=[2001:db8::/32]:443/tcp',
  'network.egress=*:53/udp',
  'resources.memory=1Gi',
  'resources.nofile=16',
  'host.device=b 8:* r',
  'api.access=engine.v1_35.swarm:all:deny',
];
const some = fc.subarray([...spelled, ...more], { maxLength: 7 });

describe('the catalog', () => {
  it('has the fourteen of libentitlement, those that libentitlement named but did not have, and additional ones', () => {
    const names = [...CATALOG.keys()];
    const theirs = [
      'network.none network.user network.proxy network.admin security.confined security.view security.admin security.memory-lock',
      'host.devices.none host.devices.view host.devices.admin host.processes.none host.processes.admin api.access',
      'security.fs-read-only debug',
    ].flatMap((line) => line.split(' '));
    const missing = [
      'network.host network.egress network.ingress network.raw network.low-ports host.device security.ptrace',
      'kernel.io-uring kernel.bpf kernel.keyring kernel.user-namespaces kernel.perf kernel.clocks kernel.mounts',
      'resources.memory resources.pids resources.cpu resources.nofile resources.memlock',
    ].flatMap((line) => line.split(' '));
    for (const name of [...theirs, ...missing]) assert.ok(names.includes(name), name);
    for (const { title, tests } of CATALOG.values())
      assert.ok(title.length > 0 && (tests.allows?.length ?? 0) + (tests.denies?.length ?? 0) > 0, title);
  });

  for (const text of spelled) {
    it(`${text} answers its own questions`, () => {
      const { tests } = CATALOG.get(text.split('=')[0] ?? '') ?? assert.fail();
      const profile = compose(text);
      for (const question of tests.allows ?? [])
        assert.ok(allows(profile, question), `${question} is denied`);
      for (const question of tests.denies ?? [])
        assert.ok(!allows(profile, question), `${question} is allowed`);
    });

    it(`${text} differs from the default in what it says, and in nothing else`, () => differsAsSaid(text));
  }

  it('is data that can be printed', () => {
    const table = JSON.parse(
      JSON.stringify([...CATALOG.values()], (_, value: unknown) =>
        typeof value === 'bigint' ? `${value}` : value,
      ),
    ) as {
      name: string;
      title: string;
      risk: string;
    }[];
    for (const { name, title, risk } of table) {
      assert.match(name, /^[a-z0-9]+([.-][a-z0-9]+)*$/);
      assert.ok(title.length > 10 && ['low', 'medium', 'high', 'critical'].includes(risk), name);
    }
  });

  it('names only capabilities and system calls that exist', () => {
    for (const { name, grants, excludes = {} } of CATALOG.values()) {
      for (const capability of [...(grants.capabilities ?? []), ...(excludes.capabilities ?? [])])
        assert.equal(capabilityName(capability), capability, name);
      for (const named of [...(grants.syscalls ?? []), ...(excludes.syscalls ?? [])]) {
        const call = typeof named === 'string' ? named : named.call;
        assert.ok(isSyscallName(call), call);
      }
      assert.equal(
        grants.capabilities?.some((capability) => excludes.capabilities?.includes(capability)) ?? false,
        false,
        name,
      );
    }
  });
});

/** Computes the profile of one entitlement from the entry's data, independently of the composition. */
function differsAsSaid(text: string): void {
  const found = entitlementNamed(text);
  assert.ok(!('problem' in found));
  const { grants, excludes = {}, rules = {} } = found;
  const [standard, profile, { grants: granted, excludes: excluded }] = [
    defaultProfile(),
    compose(text),
    part(text),
  ];
  const lost = standard.capabilities.filter((name) => excludes.capabilities?.includes(name) === true);
  const gained = (grants.capabilities ?? []).filter((name) => !standard.capabilities.includes(name));
  assert.deepEqual(
    profile.capabilities,
    [...standard.capabilities.filter((name) => !lost.includes(name)), ...gained].sort(),
  );
  // Apart from the calls that it names, only calls of a removed default capability change.
  assert.ok(standard.syscalls.filtered && profile.syscalls.filtered);
  const sockets = gained.includes('NET_ADMIN')
    ? policyOfCapability('NET_ADMIN')
    : filteredPolicy('errno 1', []);
  const named = joinPolicies(
    joinPolicies(policyAllowing(granted.calls), filteredPolicy('errno 1', [], granted.compat)),
    sockets,
  );
  assert.equal(
    policyExcess(joinPolicies(standard.syscalls, named), profile.syscalls),
    undefined,
    'allows no more than it says',
  );
  const chroot = lost.includes('SYS_CHROOT')
    ? filteredPolicy('allow', [], ['arm', 'x32', 'x86'])
    : standard.syscalls;
  const expected = joinPolicies(
    meetPolicies(meetPolicies(standard.syscalls, policyWithout(excluded.calls)), chroot),
    named,
  );
  assert.equal(policyText(profile.syscalls), policyText(expected));
  assert.deepEqual(profile.syscalls.compat, [...(grants.architectures ?? [])]);
  assert.deepEqual(profile.hostNamespaces, [...(grants.hostNamespaces ?? [])]);
  assert.deepEqual(profile.ownNamespaces, [...(excludes.sharedNamespaces ?? [])]);
  const flags: readonly (readonly [is: boolean, said: true | undefined])[] = [
    [profile.noNewPrivileges, excludes.privilegeGain],
    [profile.readonlyRootfs, excludes.rootfsWrites],
    [profile.readonlyVolumes, excludes.volumeWrites],
    [profile.nonRoot, excludes.root],
    [profile.hostDevices, grants.hostDevices],
    [profile.hostPaths, grants.hostPaths],
    [profile.hostPorts, grants.hostPorts],
    [profile.sysctls === 'any', grants.anySysctl],
    [profile.writableCgroups, grants.writableCgroups],
  ];
  for (const [is, said] of flags) assert.equal(is, said === true);
  assert.equal(profile.network, found.network ?? 'user');
  assert.deepEqual([profile.limits, profile.resources], [excludes.limits ?? {}, excludes.resources ?? {}]);
  const masked = grants.unmasked === true ? [] : [...standard.paths.masked, ...(excludes.maskedPaths ?? [])];
  for (const path of masked)
    assert.ok(
      profile.paths.masked.some((top) => isUnder(path, top)),
      path,
    );
  for (const path of profile.paths.masked) assert.ok(masked.includes(path), path);
  assert.equal(profile.paths.readonly.length === 0, grants.writablePaths === true);
  assert.equal(
    profile.devices.length > standard.devices.length || profile.hostDevices,
    grants.devices !== undefined || grants.hostDevices === true,
  );
  assert.deepEqual(
    [profile.egress?.length, profile.ingress?.length],
    [rules.egress?.length, rules.ingress?.length],
  );
  assert.deepEqual(
    [profile.files, profile.mounts, profile.apparmor, profile.writableSys, profile.ambient],
    [undefined, undefined, 'default', false, []],
  );
}

describe('composition', () => {
  it('does not depend on order, grouping and repetition', () => {
    fc.assert(
      fc.property(some, some, some, (a, b, c) => {
        const parts = (names: readonly string[]): Part[] => names.map(part);
        const joined = (...groups: readonly string[][]): Profile =>
          composed(
            unionParts(
              '',
              groups.map((names) => unionParts('', parts(names))),
            ),
          );
        const pairs = (names: readonly string[]): string[] =>
          [
            ...new Set(
              conflictsOf(parts(names)).map(({ first, second }) => [first, second].sort().join(' ')),
            ),
          ].sort();
        const together = [...a, ...b, ...c];
        assert.deepEqual(pairs(together), pairs([...c, ...a, ...b, ...a]));
        if (pairs(together).length > 0) return;
        const whole = composed(unionParts('', parts(together)));
        assert.deepEqual(joined(c, a, b), whole);
        assert.deepEqual(joined([...b, ...a], c), whole);
        assert.deepEqual(joined(a, [...b, ...c]), whole);
        assert.deepEqual(joined(a, b, c, a, [...b, ...a]), whole);
      }),
      { numRuns: 150, seed: 6 },
    );
  });

  it('reports conflicts, with both names and the subject', () => {
    const cases: [string, string, RegExp | undefined][] = [
      ['network.none', 'network.admin', /network class: admin or none/],
      ['network.user', 'network.host', /network class/],
      ['network.user', 'network.raw', /capability NET_RAW/],
      ['network.host', 'network.egress=10.0.0.0/8', /rules of peers/],
      ['security.confined', 'security.admin', /capability DAC_OVERRIDE/],
      ['security.confined', 'debug', /capability SYS_PTRACE/],
      ['host.processes.none', 'host.processes.admin', /pid namespace/],
      ['host.ipc.none', 'host.ipc.admin', /ipc namespace/],
      ['host.devices.none', 'host.devices.admin', /SYS_ADMIN|devices/],
      ['host.devices.none', 'host.device.kvm', /c 10:232 r/],
      ['api.access=engine.v1:all:deny', 'host.paths', /paths of the host/],
      ['network.none', 'security.confined', undefined],
      ['security.memory-lock', 'security.confined', undefined],
      ['network.none', 'network.none', undefined],
      ['resources.pids=10', 'resources.pids=20', undefined],
      ['network.egress=10.0.0.0/8', 'network.egress=*:53/udp', undefined],
    ];
    for (const [first, second, on] of cases) {
      const conflicts = conflictsOf([part(first), part(second)]);
      const [found] = conflicts;
      assert.equal(conflictsOf([part(second), part(first)]).length, conflicts.length);
      if (on === undefined) assert.deepEqual(conflicts, []);
      else {
        assert.match(found?.on ?? '', on);
        assert.deepEqual([found?.first, found?.second], [first, second]);
      }
    }
  });

  it('takes the lower of two bounds, and the union of two rules', () => {
    assert.equal(compose('resources.pids=20', 'resources.pids=10').resources.pids, 10n);
    assert.equal(compose('network.egress=10.0.0.0/8:5432/tcp', 'network.egress=*:53/udp').egress?.length, 3);
  });

  it('grants more with an entitlement that only grants, and less with one that only excludes', () => {
    const standard = compose();
    assert.deepEqual(standard, builtinProfile('default'));
    for (const text of spelled) {
      const found = entitlementNamed(text);
      assert.ok(!('problem' in found));
      const { grants, excludes = {}, network, rules } = found;
      const profile = compose(text);
      if (Object.keys(grants).length === 0 && (network === undefined || network === 'none'))
        assert.ok(contains(standard, profile).yes, text);
      if (Object.keys(excludes).length === 0 && rules === undefined)
        assert.ok(contains(profile, standard).yes, text);
    }
  });

  it('leaves local sockets only to network.none, whatever the high bits of the family', () => {
    const { syscalls } = compose('network.none');
    assert.ok(syscalls.filtered);
    const answers = [1n, 2n, 10n, 16n, 0x100000001n, 0x100000002n].map((family) =>
      decide(decisionFor(syscalls, 'socket'), [family]),
    );
    assert.deepEqual(answers, ['allow', 'errno 1', 'errno 1', 'errno 1', 'allow', 'errno 1']);
  });
});

describe('the name of an entitlement', () => {
  const table: readonly (readonly [text: string, problem: RegExp, fix: RegExp])[] = [
    ['network.usr', /no entitlement `network\.usr`/, /did you mean `network\.user`/],
    ['network.user=1', /takes no argument/, /write network\.user/],
    ['network.egress', /takes an argument/, /network\.egress=10\.0\.0\.0\/8:5432\/tcp/],
    [
      'network.egress=10.0.0.1/8',
      /bits set beyond its first 8; write 10\.0\.0\.0\/8/,
      /write network\.egress/,
    ],
    ['network.egress=10.0.0.0/8:99999/tcp', /not a range of ports/, /write/],
    ['network.egress=db.example.com:5432/tcp', /not a block of addresses/, /write/],
    ['network.egress=2001:db8::/32', /brackets|not ports|ADDRESSES/, /write/],
    ['resources.memory=lots', /not a size/, /resources\.memory=BYTES/],
    ['resources.cpu=0', /not a number of CPUs/, /500m/],
    ['resources.pids=-1', /not a count/, /COUNT/],
    ['host.device=c 10:232', /not a device/, /c 10:232 rw/],
    ['host.device=c 4096:0 r', /no device has the number/, /c 10:232 rw/],
    ['api.access=engine.v1_35.swarm:all:allow', /cannot be granted: an engine's API is a socket/, /deny/],
    ['api.access=engine', /write api\.access=API:SUBSET:deny/, /deny/],
  ];
  for (const [text, problem, fix] of table) {
    it(`${text} is refused with what to write`, () => {
      const found = entitlementNamed(text);
      assert.ok('problem' in found, text);
      assert.match(found.problem, problem);
      assert.match(found.fix, fix);
    });
  }

  it('is read for the API entitlement of libentitlement, which libentitlement itself could not read', () => {
    assert.deepEqual(compose('api.access=engine.v1_35.swarm:all:deny'), compose());
    assert.equal(conflictsOf([part('api.access=engine.v1_35.swarm:all:deny'), part('host.paths')]).length, 1);
  });
});
