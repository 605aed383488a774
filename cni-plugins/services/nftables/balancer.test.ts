import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { NETLINK_NETFILTER } from '../../../base/kernel/index.ts';
import {
  attributesOf,
  elementsOf,
  generationOf,
  listElements,
  openNetlink,
} from '../../../base/netlink/index.ts';
import { inPrivateNetns, shell } from '../../engine/engine.fixture.ts';
import { keyOf } from '../model/model.ts';
import type { Balancer, VirtualServer } from '../model/model.ts';
import { openNftablesBalancer } from './balancer.ts';
import { keyBytes } from './elements.ts';
import { readSlots } from './readout.ts';
import { bring } from './reconcile.ts';
import { restore, serversIn } from './restore.ts';
import { setsOf, tableOf } from './rules.ts';
import { createSeenState } from './seen-state.ts';
import { emptyTableContent } from './table-content.ts';

/** Compares with the kernel's own listing. test/services tests the effect on connections. */
if (inPrivateNetns(import.meta.filename)) {
  const backends = (family: 4 | 6, count: number, from = 1): VirtualServer['destinations'] =>
    Array.from({ length: count }, (_, index) => ({
      address:
        family === 4
          ? `10.1.${(from + index) >> 8}.${(from + index) & 255}`
          : `fd01::${(from + index).toString(16)}`,
      port: 8080,
      weight: 1,
    }));
  const server = (number: number, more: Partial<VirtualServer> = {}): VirtualServer => {
    const family = more.family ?? 4;
    const address = family === 4 ? `10.96.${number >> 8}.${number & 255}` : `fd96::${number.toString(16)}`;
    return {
      service: `service-${number}`,
      portName: 'main',
      kind: 'virtual',
      family,
      ...(more.kind === 'node' ? {} : { address }),
      protocol: 'tcp',
      port: 80,
      scheduler: 'rr',
      clientAffinity: false,
      forwarding: 'nat',
      sourceAddress: 'keep',
      destinations: backends(family, 2),
      ...more,
    };
  };
  const opened = <T>(body: (balancer: Balancer) => T): T => {
    const balancer = openNftablesBalancer();
    try {
      return body(balancer);
    } finally {
      balancer.close();
    }
  };
  const kinds: readonly VirtualServer[] = [
    server(1),
    server(2, {
      scheduler: 'wrr',
      destinations: backends(4, 3).map((each, index) => ({ ...each, weight: index + 1 })),
    }),
    server(3, { scheduler: 'sh', protocol: 'udp', port: 53 }),
    server(4, { scheduler: 'maglev', destinations: backends(4, 5) }),
    server(5, { scheduler: 'maglev', clientAffinity: true, persistenceSeconds: 60 }),
    server(6, { persistenceSeconds: 10_800, sourceAddress: 'masquerade', protocol: 'sctp', port: 3868 }),
    server(7, { scheduler: 'lc' }),
    server(8, { destinations: [] }),
    server(9, { kind: 'node', port: 30_000 }),
    server(10, { kind: 'node', port: 30_001, clientAffinity: true, sourceAddress: 'masquerade' }),
    server(11, { kind: 'external' }),
    server(12, { family: 6, persistenceSeconds: 60 }),
    server(13, { family: 6, scheduler: 'maglev' }),
    server(14, { family: 6, kind: 'node', port: 30_000, scheduler: 'sh' }),
    server(15, { kind: 'external', sourceRanges: ['192.0.2.0/24', '198.51.100.7/32'] }),
    server(16, { kind: 'external', family: 6, sourceRanges: ['2001:db8::/33'], persistenceSeconds: 60 }),
    server(17, { kind: 'external', sourceRanges: ['10.0.0.0/8'], destinations: [] }),
  ];

  /** All elements of both tables as the kernel lists them, in a fixed order. */
  const elements = (): Readonly<Record<string, readonly string[]>> => {
    const filter = openNetlink(NETLINK_NETFILTER);
    try {
      return Object.fromEntries(
        ([4, 6] as const).flatMap((family) =>
          setsOf(family).map(({ name }) => [
            `${family} ${name}`,
            filter
              .dump(listElements(tableOf(family), name))
              .flatMap(({ body }) => elementsOf(attributesOf(body, 4).get(3)))
              .map((bytes) => bytes.toString('hex'))
              .toSorted(),
          ]),
        ),
      );
    } finally {
      filter.close();
    }
  };
  const flush = (): void => assert.equal(spawnSync('nft', ['flush', 'ruleset']).status, 0);

  test('the end of a backend that has drained changes nothing in the kernel', () => {
    opened((balancer) => {
      const drained = backends(4, 1, 9).map((each) => ({ ...each, weight: 0 }));
      const draining = server(1, { destinations: [...backends(4, 2), ...drained] });
      balancer.reconcile([draining, server(2, { destinations: drained })]);
      const filter = openNetlink(NETLINK_NETFILTER);
      try {
        const [before, generation] = [elements(), generationOf(filter)];
        balancer.change([server(1), server(2, { destinations: [] })], []);
        assert.equal(generationOf(filter), generation);
        assert.equal(balancer.reconcile([server(1), server(2, { destinations: [] })]), 0);
        assert.deepEqual(elements(), before);
      } finally {
        filter.close();
      }
      const [counted] = balancer.counts(new Set([keyOf(server(1))]));
      assert.deepEqual(
        counted?.destinations.map(({ address }) => address),
        backends(4, 2).map(({ address }) => address),
      );
    });
  });

  test('tables that another program flushed are restored from memory, with the same elements', () => {
    opened((balancer) => {
      balancer.reconcile(kinds);
      // Slots with a history: they do not follow from the server alone.
      const shrunk = kinds.slice(2, 7).map((each) => ({ ...each, destinations: each.destinations.slice(1) }));
      balancer.change(
        shrunk.map((each) => ({ ...each, destinations: [...each.destinations, ...backends(4, 4, 50)] })),
        [keyOf(server(1))],
      );
      balancer.change([server(20), server(21, { protocol: 'udp' })], []);
      const before = elements();
      flush();
      assert.equal(balancer.changedByOthers?.(), true);
      assert.equal(balancer.restore?.(), kinds.length - 1 + 2 + 2, 'the servers, and two tables');
      assert.deepEqual(elements(), before);
      assert.equal(balancer.changedByOthers(), false);
      balancer.change([], [keyOf(server(20))]);
      flush();
      assert.equal(balancer.restore(), kinds.length + 2);
    });
  });

  test('a comparison keeps the elements that are needed to restore the servers', () => {
    opened((balancer) => {
      // Slots of another process would have to be read.
      balancer.removeAll();
      balancer.reconcile(kinds);
      // Its slots depend on the ones before: they could not be computed again.
      balancer.change(
        [server(3, { scheduler: 'sh', protocol: 'udp', port: 53, destinations: backends(4, 3, 2) })],
        [],
      );
      const now = kinds.map((each) =>
        each.port === 53 ? { ...each, destinations: backends(4, 3, 2) } : each,
      );
      assert.equal(balancer.reconcile(now), 0);
      const before = elements();
      flush();
      balancer.restore?.();
      assert.deepEqual(elements(), before);
    });
  });

  test('a process that took over servers can restore them before it has read their slots', () => {
    opened((first) => first.reconcile(kinds));
    opened((second) => {
      assert.equal(second.reconcile(kinds), 0);
      flush();
      assert.equal(second.restore?.(), kinds.length + 2);
      assert.equal(second.reconcile(kinds), 0);
    });
    opened((third) => assert.equal(third.reconcile(kinds), 0));
  });

  test('a failed repair does not lose the servers whose slots were not read', () => {
    opened((first) => first.reconcile(kinds));
    const filter = openNetlink(NETLINK_NETFILTER);
    try {
      const [four, six] = ([4, 6] as const).map((family) => bring(filter, family, kinds).holding);
      assert.ok(four !== undefined && six !== undefined);
      const owed = serversIn({ 4: four, 6: six });
      flush();
      const failing: typeof filter = {
        ...filter,
        send: () => {
          throw new Error('no memory');
        },
      };
      assert.throws(() => restore(failing, four), /no memory/);
      assert.equal([...owed].length, kinds.length);
    } finally {
      filter.close();
    }
  });

  test('a foreign change is noticed even if we make changes, too', () => {
    opened((balancer) => {
      balancer.reconcile(kinds);
      balancer.change([server(40)], [keyOf(server(1))]);
      assert.equal(balancer.changedByOthers?.(), false);
      balancer.change([server(41)], []);
      shell('nft flush chain ip portcullis_services balance');
      balancer.change([server(42)], []);
      assert.equal(balancer.changedByOthers(), true);
      assert.notEqual(balancer.reconcile(kinds), 0);
    });
  });

  test('the next check notices tables that another program removed during a repair', () => {
    opened((balancer) => {
      balancer.reconcile(kinds);
      const filter = openNetlink(NETLINK_NETFILTER);
      try {
        const seen = createSeenState(filter);
        const holdings = { 4: emptyTableContent(4, undefined), 6: emptyTableContent(6, undefined) };
        seen.remember(holdings);
        assert.equal(seen.differs(holdings), false);
        for (const family of ['ip', 'ip6']) {
          shell(`nft delete table ${family} portcullis_services`);
          seen.remember(holdings);
          assert.equal(seen.differs(holdings), true, family);
        }
      } finally {
        filter.close();
      }
    });
  });

  test('a table that was only partly removed is compared, not restored', () => {
    opened((balancer) => {
      balancer.reconcile(kinds);
      shell('nft delete table ip6 portcullis_services');
      assert.equal(balancer.changedByOthers?.(), true);
      assert.equal(balancer.restore?.(), undefined);
      assert.notEqual(balancer.reconcile(kinds), 0);
      assert.equal(balancer.reconcile(kinds), 0);
    });
  });

  test('a remembered client keeps its backend while backends are added', () => {
    const held = (count: number): VirtualServer =>
      server(30, { persistenceSeconds: 60, destinations: backends(4, count) });
    const filter = openNetlink(NETLINK_NETFILTER);
    const slotsOf = (size: number): string[] => readSlots(filter, 4, keyBytes(held(2)), size);
    try {
      opened((balancer) => {
        balancer.reconcile([held(2)]);
        const two = slotsOf(16);
        assert.equal(two.length, 16);
        balancer.change([held(3)], []);
        const three = slotsOf(64);
        assert.equal(three.length, 64);
        assert.deepEqual(three.slice(0, 16), two);
        balancer.change([held(2)], []);
        assert.equal(slotsOf(64).length, 64, 'the table only grows');
      });
    } finally {
      filter.close();
    }
  });

  test('another process finds everything unchanged, and takes over', () => {
    opened((first) => {
      first.reconcile(kinds);
      assert.equal(first.reconcile(kinds), 0);
      assert.equal(first.changedByOthers?.(), false);
    });
    opened((second) => {
      assert.equal(second.reconcile(kinds), 0);
      assert.equal(second.reconcile(kinds.slice(1)), 2, 'a server and its address');
      assert.equal(
        second.reconcile(kinds.map((each) => ({ ...each, destinations: backends(each.family, 3, 7) }))),
        kinds.length + 1,
      );
      second.removeAll();
      assert.equal(shell('nft list tables').includes('portcullis_services'), false);
    });
  });

  test('nft lists every kind of rule', () => {
    for (const each of kinds)
      opened((balancer) => {
        balancer.reconcile([each]);
        const { status, stderr } = spawnSync(
          'nft',
          ['list', 'table', each.family === 4 ? 'ip' : 'ip6', 'portcullis_services'],
          {
            encoding: 'utf8',
          },
        );
        assert.equal(status, 0, `${keyOf(each)}: ${stderr}`);
        balancer.removeAll();
      });
  });

  const table = 'ip portcullis_services';
  for (const [what, harm] of [
    ['the whole table is gone', `nft delete table ${table}`],
    ['everything is flushed', 'nft flush ruleset'],
    ['a rule was put in', `nft add rule ${table} balance counter accept`],
    ['a rule is gone', `nft flush chain ${table} forward`],
  ] as const)
    test(`${what}: this is detected and repaired, also by a change`, () => {
      opened((balancer) => {
        balancer.reconcile(kinds);
        shell(harm);
        assert.equal(balancer.changedByOthers?.(), true);
        balancer.reconcile(kinds);
        assert.equal(balancer.changedByOthers?.(), false);
        assert.equal(balancer.reconcile(kinds), 0);
      });
    });

  test('a change of a missing table restores everything', () => {
    opened((balancer) => {
      balancer.reconcile(kinds);
      shell(`nft delete table ${table}`);
      balancer.change([server(20)], [keyOf(server(1))]);
      assert.equal(balancer.reconcile([...kinds.slice(1), server(20)]), 0);
    });
  });

  test('a change after a flush restores everything in few transactions, and then applies the change', () => {
    opened((balancer) => {
      const many = Array.from({ length: 5000 }, (_, index) => server(100 + index));
      balancer.reconcile(many);
      flush();
      const filter = openNetlink(NETLINK_NETFILTER);
      const before = generationOf(filter);
      balancer.change([server(20)], [keyOf(server(100))]);
      const transactions = generationOf(filter) - before;
      filter.close();
      assert.ok(transactions < 15, `${transactions} transactions: each of a comparison has 250 servers`);
      assert.equal(balancer.changedByOthers?.(), false);
      assert.equal(balancer.reconcile([...many.slice(1), server(20)]), 0);
    });
  });

  for (const harm of [
    'flush map TABLE servers',
    'flush map TABLE slots16',
    'flush map TABLE modes',
    'delete element TABLE modes { 0x0 : goto refuse }',
    'flush set TABLE addresses',
    'flush map TABLE restricted',
    'flush set TABLE source_ranges',
    'flush set TABLE denied',
    'add element TABLE source_ranges { 10.96.0.15 . tcp . 80 . 0x8 . 10.0.0.0 }',
  ])
    test(`elements that another program removed are found by a full comparison: nft ${harm}`, () => {
      opened((balancer) => {
        balancer.reconcile(kinds);
        shell(`nft ${harm.replace('TABLE', table)}`);
        assert.ok(balancer.reconcile(kinds) > 0);
        assert.equal(balancer.reconcile(kinds), 0);
        balancer.removeAll();
      });
    });

  const countersOf = (): number =>
    new Set(
      [...shell(`nft list table ${table}`).matchAll(/goto (pick_\w+_turn\d+)/gu)].map(([, chain]) => chain),
    ).size;

  test('64 servers have their own counters, and further servers use random draws; a released counter is used again', () => {
    opened((balancer) => {
      const many = Array.from({ length: 70 }, (_, index) => server(100 + index));
      balancer.reconcile(many);
      assert.equal(countersOf(), 64);
      assert.match(shell(`nft list table ${table}`), /goto pick_address_\d+_random/u);
      balancer.change([], many.slice(0, 60).map(keyOf));
      balancer.tick();
      assert.equal(countersOf(), 4);
      assert.equal(balancer.changedByOthers?.(), false);
      balancer.change(many.slice(0, 3), []);
      assert.equal(countersOf(), 7);
      assert.equal(balancer.reconcile([...many.slice(0, 3), ...many.slice(60)]), 0);
      balancer.removeAll();
    });
  });

  const ownersOf = (address: string): Map<string, string> =>
    new Map(
      [
        ...shell(`nft list map ${table} slots64; nft list map ${table} slots16`).matchAll(
          /([\d.]+) \. tcp \. 80 \. (0x[\da-f]+) : ([\d.]+) \. 8080/gu,
        ),
      ]
        .filter(([, at]) => at === address)
        .map(([, , slot = '', owner = '']) => [slot, owner] as const),
    );

  test('a balancer that is opened again keeps the slots of clients whose backend stays', () => {
    const hashed = server(1, { clientAffinity: true, destinations: backends(4, 3) });
    opened((balancer) => void balancer.reconcile([hashed]));
    const before = ownersOf('10.96.0.1');
    assert.equal(before.size, 64);
    opened((balancer) => {
      balancer.reconcile([hashed]);
      balancer.change([{ ...hashed, destinations: backends(4, 2) }], []);
      for (const [slot, owner] of ownersOf('10.96.0.1'))
        if (before.get(slot) !== '10.1.0.3') assert.equal(owner, before.get(slot), slot);
      balancer.removeAll();
    });
  });

  test('source ranges: a change touches only what differs, and counters stay', () => {
    const restricted = server(15, { kind: 'external', sourceRanges: ['192.0.2.0/24', '198.51.100.0/24'] });
    const listed = (set: string): string[] =>
      shell(`nft list set ${table} ${set}`).match(/10\.96\.0\.15 \. tcp \. 80[^,}\n]*/gu) ?? [];
    opened((balancer) => {
      balancer.reconcile([restricted]);
      balancer.change([{ ...restricted, sourceRanges: ['192.0.2.0/24', '203.0.113.7/32'] }], []);
      assert.deepEqual(
        listed('source_ranges')
          .map((text) => text.trim())
          .toSorted(),
        [
          '10.96.0.15 . tcp . 80 . 0x00000018 . 192.0.2.0',
          '10.96.0.15 . tcp . 80 . 0x00000020 . 203.0.113.7',
        ],
      );
      balancer.change([server(15, { kind: 'external' })], []);
      assert.deepEqual([...listed('source_ranges'), ...listed('denied')], []);
      balancer.change([restricted], []);
      balancer.change([], [keyOf(restricted)]);
      assert.deepEqual([...listed('source_ranges'), ...listed('denied')], []);
      assert.equal(balancer.reconcile([]), 0);
      balancer.removeAll();
    });
  });

  test('a new address of the host can change whether the host itself may connect', () => {
    const restricted = server(15, { kind: 'external', sourceRanges: ['192.0.2.0/24'] });
    const isIn = (): boolean =>
      shell(`nft list set ${table} source_ranges`).includes('0x00000020 . 10.96.0.15');
    opened((balancer) => {
      balancer.reconcile([restricted]);
      assert.equal(isIn(), false);
      shell(
        'ip link add own type bridge; ip addr add 192.0.2.9/24 dev own; ip link set own up; ip route add default dev own',
      );
      balancer.tick();
      assert.equal(isIn(), true);
      assert.equal(balancer.reconcile([restricted]), 0);
      shell('ip link del own');
      balancer.tick();
      assert.equal(isIn(), false);
      balancer.removeAll();
    });
  });

  test('a server that nf_tables cannot serve is refused with the name of the field', () => {
    opened((balancer) => {
      assert.equal(balancer.refuse(server(1, { forwarding: 'dsr' }))?.field, 'forwarding');
      assert.equal(balancer.refuse(server(1, { destinations: backends(4, 1025) }))?.field, 'backends');
      assert.equal(
        balancer.refuse(server(1, { scheduler: 'maglev', destinations: backends(4, 1022) }))?.field,
        'backends',
      );
      assert.equal(
        balancer.refuse(
          server(1, {
            destinations: backends(4, 1100).map((each, index) => ({ ...each, weight: index < 1024 ? 1 : 0 })),
          }),
        ),
        undefined,
      );
      assert.equal(
        balancer.refuse(server(1, { persistenceSeconds: 400 * 86_400 }))?.field,
        'persistenceSeconds',
      );
      for (const family of [4, 6] as const) {
        balancer.reconcile([]);
        for (const count of [256, 257, 1000, 1024, 1023, 12])
          for (const scheduler of [
            'rr',
            'sh',
            'lc',
            ...(count < 1022 ? (['maglev'] as const) : []),
          ] as const) {
            const many = server(1, {
              scheduler,
              family,
              ...(family === 6 && { address: 'fd00::99' }),
              destinations: backends(family, count),
            });
            balancer.change([many], []);
            assert.equal(balancer.reconcile([many]), 0, `${family} ${scheduler} ${count}`);
            balancer.tick();
          }
      }
      balancer.removeAll();
    });
  });

  test('one change may have many servers of both families, the same server twice, or remove all servers', () => {
    opened((balancer) => {
      balancer.reconcile([]);
      balancer.change(kinds, []);
      balancer.change([...kinds, server(1, { destinations: backends(4, 1) }), server(1)], []);
      assert.equal(balancer.reconcile(kinds), 0);
      balancer.change(
        kinds.map((each) => ({ ...each, destinations: [] })),
        [],
      );
      assert.deepEqual(new Set(balancer.counts().flatMap(({ destinations }) => destinations)), new Set());
      balancer.change([], [...kinds, server(999)].map(keyOf));
      assert.equal(balancer.reconcile([]), 0);
      balancer.removeAll();
    });
  });
}
