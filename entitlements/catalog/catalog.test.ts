import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { capabilityName } from '../capabilities/names.ts';
import { contains } from '../compare/contains.ts';
import type { Profile } from '../profile/model.ts';
import { decide } from '../seccomp/decision.ts';
import { decisionFor } from '../seccomp/policy.ts';
import { isSyscallName } from '../seccomp/syscalls.ts';
import { CATALOG } from './catalog.ts';
import { composeEntitlements, conflictsOf } from './compose.ts';
import type { Entitlement } from './entitlement.ts';

function named(...names: string[]): Entitlement[] {
  return names.map((name) => {
    const entitlement = CATALOG.get(name);
    assert.ok(entitlement, name);
    return entitlement;
  });
}

function compose(...names: string[]): Profile {
  return composeEntitlements(named(...names));
}

function answer(profile: Profile, call: string, ...args: bigint[]): string {
  return profile.syscalls.filtered ? decide(decisionFor(profile.syscalls, call), args) : 'unfiltered';
}

const usable = [...CATALOG.values()].filter((entitlement) => entitlement.refused === undefined);
const some = fc.subarray(usable, { maxLength: 6 });

describe('the catalog', () => {
  it('has libentitlement’s fourteen and three more', () => {
    assert.deepEqual([...CATALOG.keys()].sort(), [
      'api.access',
      'host.devices.admin',
      'host.devices.none',
      'host.devices.view',
      'host.paths',
      'host.processes.admin',
      'host.processes.none',
      'network.admin',
      'network.host',
      'network.none',
      'network.proxy',
      'network.user',
      'security.admin',
      'security.confined',
      'security.fs-read-only',
      'security.memory-lock',
      'security.view',
    ]);
  });

  it('names only capabilities and system calls that exist', () => {
    for (const { name, grants, excludes } of CATALOG.values()) {
      for (const capability of [...(grants.capabilities ?? []), ...(excludes.capabilities ?? [])])
        assert.equal(capabilityName(capability), capability, name);
      for (const call of [...(grants.syscalls ?? []), ...(excludes.syscalls ?? []).map((excluded) => excluded.call)])
        assert.ok(isSyscallName(call), call);
      assert.equal(grants.capabilities?.some((capability) => excludes.capabilities?.includes(capability)) ?? false, false, name);
    }
  });

  it('composes in any order, grouping and repetition', () => {
    fc.assert(
      fc.property(some, some, (a, b) => {
        const same = (one: readonly Entitlement[], other: readonly Entitlement[]): void => {
          assert.deepEqual(composeEntitlements(one), composeEntitlements(other));
          const pairs = (list: readonly Entitlement[]): string[] =>
            conflictsOf(list).map(({ first, second, on }) => [first, second].sort().join(' ') + on);
          assert.deepEqual([...new Set(pairs(one))].sort(), [...new Set(pairs(other))].sort());
        };
        const together = [...a, ...b];
        if (conflictsOf(together).length > 0) return;
        same(together, [...b, ...a]);
        same(together, [...together, ...a]);
      }),
      { numRuns: 200 },
    );
  });

  it('says conflicts', () => {
    const cases: [string, string, RegExp | undefined][] = [
      ['network.none', 'network.admin', /network class: admin or none/],
      ['network.user', 'network.host', /network class/],
      ['security.confined', 'security.admin', /capability DAC_OVERRIDE/],
      ['host.processes.none', 'host.processes.admin', /pid namespace/],
      ['host.devices.none', 'host.devices.admin', /SYS_ADMIN|devices/],
      ['network.none', 'security.confined', undefined],
      ['security.memory-lock', 'security.confined', undefined],
      ['network.none', 'network.none', undefined],
    ];
    for (const [first, second, on] of cases) {
      const conflicts = conflictsOf(named(first, second));
      assert.equal(conflictsOf(named(second, first)).length, conflicts.length);
      if (on === undefined) assert.deepEqual(conflicts, []);
      else assert.match(conflicts[0]?.on ?? '', on);
    }
  });

  it('network.none leaves local sockets only, whatever the high bits of the family', () => {
    const profile = compose('network.none');
    assert.deepEqual(
      [1n, 2n, 10n, 16n, 0x100000001n, 0x100000002n].map((family) => answer(profile, 'socket', family)),
      ['allow', 'errno 1', 'errno 1', 'errno 1', 'allow', 'errno 1'],
    );
    assert.equal(answer(profile, 'bind'), 'allow');
    assert.equal(profile.network, 'none');
  });

  it('network.proxy refuses SO_DEBUG and no other option of that number', () => {
    const profile = compose('network.proxy');
    assert.deepEqual(
      [answer(profile, 'setsockopt', 3n, 1n, 1n), answer(profile, 'setsockopt', 3n, 6n, 1n), answer(profile, 'setsockopt', 3n, 1n, 2n)],
      ['errno 1', 'allow', 'allow'],
    );
    assert.ok(profile.capabilities.includes('NET_RAW'));
  });

  it('security.confined lets libc start, and nothing look into other processes', () => {
    const profile = compose('security.confined');
    for (const call of ['arch_prctl', 'madvise', 'prctl', 'execve']) assert.equal(answer(profile, call), 'allow', call);
    for (const call of ['ptrace', 'personality', 'process_vm_readv']) assert.equal(answer(profile, call), 'errno 1', call);
    assert.ok(profile.noNewPrivileges);
    assert.deepEqual(profile.capabilities, [
      'AUDIT_WRITE',
      'CHOWN',
      'FOWNER',
      'KILL',
      'MKNOD',
      'NET_BIND_SERVICE',
      'NET_RAW',
      'SYS_CHROOT',
    ]);
  });

  it('security.view can not open files by handle', () => {
    const profile = compose('security.view');
    assert.ok(profile.capabilities.includes('DAC_READ_SEARCH'));
    assert.equal(answer(profile, 'open_by_handle_at'), 'errno 1');
  });

  it('grows with what grants and shrinks with what excludes', () => {
    const standard = composeEntitlements([]);
    for (const entitlement of usable) {
      const profile = composeEntitlements([entitlement]);
      const grantsNothing = Object.keys(entitlement.grants).length === 0;
      if (grantsNothing && (entitlement.network === undefined || entitlement.network === 'none'))
        assert.ok(contains(standard, profile).yes, entitlement.name);
      if (Object.keys(entitlement.excludes).length === 0) assert.ok(contains(profile, standard).yes, entitlement.name);
    }
  });
});
