import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NETLINK_NETFILTER } from '../../../base/kernel/index.ts';
import {
  attributesOf,
  deleteElements,
  elementsOf,
  listElements,
  openNetlink,
  transact,
} from '../../../base/netlink/index.ts';
import { inPrivateNetns, shell } from '../../engine/engine.fixture.ts';
import { keyOf } from '../model/model.ts';
import type { Balancer, VirtualServer } from '../model/model.ts';
import { openNftablesBalancer } from './balancer.ts';
import { keyBytes } from './elements.ts';
import { setsOf, tableOf } from './rules.ts';

if (inPrivateNetns(import.meta.filename)) {
  const server = (number: number, more: Partial<VirtualServer> = {}): VirtualServer => ({
    service: `service-${number}`,
    portName: 'main',
    kind: 'virtual',
    family: number % 3 === 0 ? 6 : 4,
    address: number % 3 === 0 ? `fd96::${number.toString(16)}` : `10.96.${number >> 8}.${number & 255}`,
    protocol: number % 5 === 0 ? 'udp' : 'tcp',
    port: 80,
    scheduler: 'rr',
    clientAffinity: false,
    forwarding: 'nat',
    sourceAddress: 'keep',
    destinations: [{ address: number % 3 === 0 ? 'fd01::1' : '10.1.0.1', port: 8080, weight: 1 }],
    ...more,
  });
  const servers = (from: number, count: number): VirtualServer[] =>
    Array.from({ length: count }, (_, at) => server(from + at));
  const filter = openNetlink(NETLINK_NETFILTER);
  const elements = (): readonly string[] =>
    ([4, 6] as const).flatMap((family) =>
      setsOf(family).flatMap(({ name }) =>
        filter
          .dump(listElements(tableOf(family), name))
          .flatMap(({ body }) => elementsOf(attributesOf(body, 4).get(3)))
          .map((bytes) => `${family} ${name} ${bytes.toString('hex')}`)
          .toSorted(),
      ),
    );
  const opened = (body: (balancer: Balancer) => void): void => {
    const balancer = openNftablesBalancer();
    try {
      body(balancer);
    } finally {
      balancer.removeAll();
      balancer.close();
    }
  };
  /** Whatever is called next finds everything in force. */
  const assertInForce = (balancer: Balancer, all: readonly VirtualServer[]): void => {
    assert.equal(balancer.changedByOthers?.(), false);
    const found = elements();
    assert.equal(balancer.reconcile(all), 0);
    assert.deepEqual(elements(), found);
  };

  test('changes that continue are in force in their order, and before any other call', () => {
    opened((balancer) => {
      balancer.reconcile([]);
      balancer.change(servers(1, 2000), [], true);
      balancer.change(servers(2001, 100), servers(1, 1000).map(keyOf), true);
      balancer.change(servers(1, 1), [], true);
      assertInForce(balancer, [...servers(1001, 1100), server(1)]);
      balancer.change(servers(3000, 500), [], true);
      assert.equal(balancer.counts(new Set([keyOf(server(3499))])).length, 1);
      balancer.change(servers(4000, 500), [], true);
      balancer.tick();
      balancer.change(servers(5000, 500), [], true);
      balancer.change([], []);
      assertInForce(balancer, [
        ...servers(1001, 1100),
        ...[server(1), ...servers(3000, 500), ...servers(4000, 500), ...servers(5000, 500)],
      ]);
    });
  });

  /** As another program does it: the number of chains stays, so the change is noticed by its refusal. */
  const removeLead = ({ family, ...key }: VirtualServer): void =>
    transact(filter, deleteElements(tableOf(family), 'servers', [{ key: keyBytes({ family, ...key }) }]));

  test('a change that the kernel refuses is repaired by the next call', () => {
    opened((balancer) => {
      balancer.reconcile(servers(1, 20));
      removeLead(server(2));
      balancer.change(servers(30, 5), [keyOf(server(2))], true);
      balancer.change(servers(40, 5), [keyOf(server(4))]);
      const left = servers(1, 20).filter(({ service }) => service !== 'service-2' && service !== 'service-4');
      assertInForce(balancer, [...left, ...servers(30, 5), ...servers(40, 5)]);
    });
  });

  test('a table that another program deletes after a change that continues is back after the next one', () => {
    opened((balancer) => {
      balancer.reconcile(servers(1, 5));
      balancer.change(servers(10, 500), [], true);
      assert.equal(balancer.counts(new Set([keyOf(server(10))])).length, 1, 'it waits for the change');
      shell('nft delete table ip portcullis_services');
      balancer.change(servers(1000, 5), [], true);
      balancer.change(servers(2000, 5), []);
      assert.ok((balancer.takeRepairs?.() ?? 0) > 0);
      assert.equal(balancer.takeRepairs?.(), 0);
      assertInForce(balancer, [
        ...servers(1, 5),
        ...[...servers(10, 500), ...servers(1000, 5), ...servers(2000, 5)],
      ]);
    });
  });
}
