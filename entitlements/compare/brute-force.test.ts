import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { isPortcullisError } from '../../base/errors/index.ts';
import { allPaths, asRegExp } from '../files/fixtures/arbitrary-pattern.ts';
import type { FileRule, FileRules, MountRule } from '../profile/model.ts';
import type { FileAccess, NetworkRule } from '../types.ts';
import { FILE_ACCESSES, fileExcess, grants, joinFiles, meetFiles } from './files.ts';
import { arbitraryFiles, arbitraryMounts, arbitraryNetworkRules } from './fixtures/arbitrary-profile.ts';
import { joinMounts, meetMounts, mountExcess } from './mounts.ts';
import type { MountExcess } from './mounts.ts';
import { joinNetworkRules, meetNetworkRules, networkExcess } from './network-rules.ts';

/** `PORTCULLIS_LATTICE_RUNS=10000` sets the long form. */
const runs = Number(process.env['PORTCULLIS_LATTICE_RUNS'] ?? 300);
const parameters = { seed: 6061, numRuns: runs };
const paths = allPaths(5);

/** Returns for every peer and port of the small domain whether it is allowed, with an independent loop. */
function allowed(rules: readonly NetworkRule[] | undefined): string {
  let found = '';
  for (const protocol of ['tcp', 'udp'])
    for (let host = 0; host < 8; host++)
      for (let port = 0; port < 8; port++) {
        const holds = (rules ?? []).some((rule) => {
          const [first = 0, prefix = 0] = rule.cidr.replace('10.0.0.', '').split('/').map(Number);
          const inside = host >= first && host < first + 2 ** (32 - prefix);
          return rule.protocol === protocol && inside && rule.ports.low <= port && port <= rule.ports.high;
        });
        found += holds ? '1' : '0';
      }
  return found;
}

const combined = (a: string, b: string, how: (a: boolean, b: boolean) => boolean): string =>
  Array.from(a, (bit, at) => (how(bit === '1', b[at] === '1') ? '1' : '0')).join('');

describe('exhaustive comparison on small domains', () => {
  it('network rules meet, join and contain exactly', () => {
    const rules = arbitraryNetworkRules(fc);
    fc.assert(
      fc.property(rules, rules, (a, b) => {
        const [x, y] = [allowed(a), allowed(b)];
        assert.equal(
          allowed(meetNetworkRules(a, b)),
          combined(x, y, (p, q) => p && q),
        );
        assert.equal(
          allowed(joinNetworkRules(a, b)),
          combined(x, y, (p, q) => p || q),
        );
        const excess = networkExcess(a, b);
        assert.equal(excess !== undefined, combined(x, y, (p, q) => q && !p).includes('1'));
        if (excess !== undefined) {
          const one = {
            cidr: `${excess.address}/32`,
            protocol: excess.protocol,
            ports: { low: excess.port, high: excess.port },
          };
          assert.ok(
            networkExcess(b, [one]) === undefined && networkExcess(a, [one]) !== undefined,
            excess.peer,
          );
        }
      }),
      parameters,
    );
  });

  const matched = (rules: readonly FileRule[], access: FileAccess): ((path: string) => boolean) => {
    const expressions = rules
      .filter((rule) => rule.access.includes(access))
      .map(({ pattern }) => asRegExp(pattern));
    return (path) => expressions.some((expression) => expression.test(path));
  };
  const granted = (files: readonly FileRules[], access: FileAccess): string => {
    const members = files.map(({ allow, deny }) => [matched(allow, access), matched(deny, access)] as const);
    return paths
      .map((path) => (members.some(([allow, deny]) => allow(path) && !deny(path)) ? '1' : '0'))
      .join('');
  };
  const unlessTooComplex = (body: () => void): void => {
    try {
      body();
    } catch (error) {
      if (!isPortcullisError(error) || error.code !== 'ENTITLEMENTS_TOO_COMPLEX') throw error;
    }
  };

  it('file rules meet, join and contain exactly', () => {
    const files = arbitraryFiles(fc);
    fc.assert(
      fc.property(files, files, (a, b) =>
        unlessTooComplex(() => {
          const [met, joined, excess] = [meetFiles(a, b) ?? [], joinFiles(a, b) ?? [], fileExcess(a, b)];
          const differs = FILE_ACCESSES.map((access) => {
            const [x, y] = [granted(a, access), granted(b, access)];
            assert.equal(
              granted(met, access),
              combined(x, y, (p, q) => p && q),
            );
            assert.equal(
              granted(joined, access),
              combined(x, y, (p, q) => p || q),
            );
            return combined(x, y, (p, q) => q && !p).includes('1');
          });
          if (differs.includes(true)) assert.notEqual(excess, undefined);
          if (excess !== undefined)
            assert.ok(grants(b, excess.access, excess.path) && !grants(a, excess.access, excess.path));
        }),
      ),
      parameters,
    );
  });

  const mountable = (rules: readonly MountRule[]): string => {
    const known = rules.map((rule) => [rule, asRegExp(rule.target)] as const);
    return ['proc', 'tmpfs', 'ext4']
      .flatMap((fstype) =>
        [false, true].flatMap((readonly) =>
          paths.map((path) =>
            known.some(
              ([rule, target]) =>
                (rule.fstype === '*' || rule.fstype === fstype) &&
                (!rule.readonly || readonly) &&
                target.test(path),
            )
              ? '1'
              : '0',
          ),
        ),
      )
      .join('');
  };

  const allows = (rules: readonly MountRule[], { fstype, target, readonly }: MountExcess): boolean =>
    rules.some(
      (rule) =>
        (rule.fstype === '*' || rule.fstype === fstype) &&
        (!rule.readonly || readonly) &&
        asRegExp(rule.target).test(target),
    );

  it('mount rules meet, join and contain exactly', () => {
    const mounts = arbitraryMounts(fc);
    fc.assert(
      fc.property(mounts, mounts, (a, b) =>
        unlessTooComplex(() => {
          const [x, y] = [mountable(a), mountable(b)];
          assert.equal(
            mountable(meetMounts(a, b) ?? []),
            combined(x, y, (p, q) => p && q),
          );
          assert.equal(
            mountable(joinMounts(a, b) ?? []),
            combined(x, y, (p, q) => p || q),
          );
          const beyond = combined(x, y, (p, q) => q && !p).includes('1');
          if (beyond) assert.notEqual(mountExcess(a, b), undefined);
          // The mount that it names may be outside the small domain. It still is such a mount.
          const excess = mountExcess(a, b);
          if (excess !== undefined) assert.ok(allows(b, excess) && !allows(a, excess));
        }),
      ),
      parameters,
    );
  });
});
