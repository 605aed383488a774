import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { inPrivateNetns, shell } from '../../engine/engine.fixture.ts';
import { keyOf } from '../model/model.ts';
import type { Family, VirtualServer } from '../model/model.ts';
import { openNftablesBalancer } from './balancer.ts';

/** The inside plane of a server in the kernel: it comes and goes with its server, in any order of events. */

const split = (family: Family, more: Partial<VirtualServer> = {}): VirtualServer => ({
  service: 'shop/web.external',
  portName: 'http',
  kind: 'external',
  family,
  address: family === 4 ? '192.0.2.8' : '2001:db8::8',
  protocol: 'tcp',
  port: 80,
  scheduler: 'rr',
  clientAffinity: false,
  forwarding: 'nat',
  sourceAddress: 'keep',
  insideSources: family === 4 ? ['10.9.0.0/24', '10.9.1.0/24'] : ['fd09::/64'],
  destinations: [1, 2, 3].map((number) => ({
    address: family === 4 ? `10.0.0.${number}` : `fd00::${number}`,
    port: 8080,
    weight: number === 1 ? 1 : 0,
    ...(number > 1 && { insideWeight: 1 }),
  })),
  ...more,
});
const node = (family: Family): VirtualServer => {
  const { address: _, ...rest } = split(family, { kind: 'node', port: 30_080, protocol: 'sctp' });
  return rest;
};

const listed = (family: Family): string =>
  shell(`nft -nn list table ${family === 4 ? 'ip' : 'ip6'} portcullis_services`);
/** Returns the elements of a set, in one line. */
function elementsIn(family: Family, set: string): string {
  const kind = set === 'remembered_as' ? 'map' : 'set';
  const text = shell(`nft -nn list ${kind} ${family === 4 ? 'ip' : 'ip6'} portcullis_services ${set}`);
  return (/elements = \{([^}]*)\}/u.exec(text)?.[1] ?? '').replaceAll(/\s+/gu, ' ').trim();
}

if (inPrivateNetns(import.meta.filename)) {
  const balancer = openNftablesBalancer();
  after(() => {
    balancer.removeAll();
    balancer.close();
  });

  for (const family of [4, 6] as const)
    test(`an inside plane comes and goes with its server (IPv${family})`, () => {
      const servers = [split(family), node(family)];
      balancer.reconcile([]);
      const empty = listed(family);
      balancer.change(servers, []);
      assert.equal(elementsIn(family, 'inside_sources'), family === 4 ? '10.9.0.0/23' : 'fd09::/64');
      assert.match(listed(family), /jump inside/u);
      assert.equal(balancer.reconcile(servers), 0);

      // The next process finds everything in its place.
      const next = openNftablesBalancer();
      assert.equal(next.reconcile(servers), 0);
      assert.equal(next.changedByOthers?.(), false);

      // Slots that were not read yet are restored as well.
      shell('nft flush ruleset');
      assert.ok((next.restore?.() ?? 0) > 0);
      assert.equal(balancer.reconcile(servers), 0);
      next.close();
      shell('nft flush ruleset');
      assert.ok((balancer.restore?.() ?? 0) > 0);
      assert.equal(balancer.reconcile(servers), 0);

      const moved = [
        split(family, { insideSources: [family === 4 ? '10.7.0.0/16' : 'fd08::/64'] }),
        node(family),
      ];
      balancer.change(moved.slice(0, 1), []);
      assert.match(elementsIn(family, 'inside_sources'), family === 4 ? /10\.7\.0\.0\/16/u : /fd08::\/64/u);
      assert.equal(balancer.reconcile(moved), 0);

      // Without a destination for connections from inside, or with the same for all, there is no plane.
      const closed = split(family, { drops: true, destinations: [] });
      balancer.change([closed], [keyOf(node(family))]);
      balancer.tick();
      assert.equal(balancer.reconcile([closed]), 0);
      assert.doesNotMatch(listed(family), /pick_/u);

      // A comparison also removes what an earlier process left.
      balancer.change(servers, []);
      const other = openNftablesBalancer();
      assert.ok(other.reconcile([]) > 0);
      other.tick();
      assert.equal(listed(family), empty);
      other.close();
    });

  for (const family of [4, 6] as const)
    test(`servers that remember clients together have the same slots, in any order of events (IPv${family})`, () => {
      const remembersAs = { address: family === 4 ? '10.96.0.1' : 'fd96::1', port: 80 };
      const cluster: VirtualServer = {
        ...split(family, { kind: 'virtual', persistenceSeconds: 60, remembersAs }),
        address: remembersAs.address,
      };
      const destinations = split(family).destinations.map(({ address, port }) => ({
        address,
        port,
        weight: 1,
      }));
      const one = (more: Partial<VirtualServer> = {}): VirtualServer => {
        const { insideSources: _, ...rest } = { ...cluster, destinations, ...more };
        return rest;
      };
      const others = [
        one({ kind: 'external', address: split(family).address ?? '' }),
        { ...node(family), protocol: 'tcp', persistenceSeconds: 60, insideRemembersAs: remembersAs } as const,
      ];
      const first = [one({ destinations: destinations.slice(0, 2) })];
      balancer.reconcile(first);
      balancer.change([one(), ...others], []);
      const all = [one(), ...others];
      assert.equal(balancer.reconcile(all), 0);
      const text = listed(family);
      const memories = elementsIn(family, 'remembered_as').split(',').length;
      assert.equal(memories, 3);
      const slotsOf = (address: string): string =>
        text
          .split(/,|\{|\}/u)
          .filter((line) => line.trim().startsWith(`${address} . 6 . 80 . 0x`))
          .map((line) => line.trim().slice(address.length))
          .toSorted()
          .join('\n');
      assert.ok(slotsOf(cluster.address ?? '') !== '');
      assert.equal(slotsOf(split(family).address ?? ''), slotsOf(cluster.address ?? ''));

      const next = openNftablesBalancer();
      assert.equal(next.reconcile(all), 0);
      shell('nft flush ruleset');
      assert.ok((next.restore?.() ?? 0) > 0);
      assert.equal(elementsIn(family, 'remembered_as').split(',').length, memories);
      assert.equal(balancer.reconcile(all), 0);
      next.close();
      const { remembersAs: _, ...alone } = one();
      balancer.change([alone], others.map(keyOf));
      assert.equal(elementsIn(family, 'remembered_as'), '');
    });

  test('a server that loses its only endpoint for outside clients keeps its endpoints for inside', () => {
    const drops = split(4, {
      drops: true,
      sourceRanges: ['198.51.100.0/24'],
      destinations: split(4).destinations.slice(1),
    });
    balancer.reconcile([split(4)]);
    balancer.change([drops], []);
    const text = listed(4);
    assert.match(
      text,
      /chain drop_split_restricted \{\s+jump sources[^\n]*\n\s+jump inside[^\n]*\n\s+goto lost/u,
    );
    assert.equal(balancer.reconcile([drops]), 0);
    balancer.change([], [keyOf(drops)]);
    balancer.tick();
    assert.equal(balancer.reconcile([]), 0);
  });
}
