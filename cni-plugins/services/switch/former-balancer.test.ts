import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PortcullisError } from '../../../base/errors/index.ts';
import { NETLINK_NETFILTER } from '../../../base/kernel/index.ts';
import { inPrivateNetns, shell } from '../../engine/engine.fixture.ts';
import { transact, openNetlink } from '../../../base/netlink/index.ts';
import { ipvsLeftovers } from '../ipvs/leftovers.ts';
import { rebuild } from '../ipvs/tables.ts';
import { openNftablesBalancer } from '../nftables/balancer.ts';
import { webServer } from '../virtual-server.fixture.ts';
import { openSwitchableBalancer } from './open.ts';
import { openSwitch } from './switch.ts';

/** Remains of a killed process that balanced by IPVS, also where the kernel has no IPVS any more. */
if (inPrivateNetns(import.meta.filename)) {
  shell('ip link set lo up');
  const link =
    'ip link add portcullis-ipvs type bridge; ip address add 10.96.9.9/32 dev portcullis-ipvs; ip link set portcullis-ipvs up';
  const tables = (): void => {
    const netfilter = openNetlink(NETLINK_NETFILTER);
    transact(netfilter, [...rebuild('ip', new Map()), ...rebuild('ip6', new Map())]);
    netfilter.close();
  };
  const left = (): boolean =>
    /portcullis-ipvs/u.test(shell('ip -brief link; nft list tables; ip route show table local'));
  const log = { info: () => {}, warn: () => {} };

  for (const [what, leave] of [
    ['link and tables', () => (shell(link), tables())],
    ['the link alone', () => void shell(link)],
    ['the tables alone', tables],
  ] as const)
    test(`${what} of a lost process are removed after the next process has begun`, () => {
      leave();
      assert.ok(left());
      const balancer = openSwitchableBalancer('nftables', log);
      try {
        balancer.reconcile([webServer]);
        balancer.tick();
        assert.deepEqual([left(), balancer.retiring()], [false, undefined]);
      } finally {
        balancer.removeAll();
        balancer.close();
      }
    });

  test('the removal of remains is retried, and a failure is logged once', () => {
    const refused = (code: string): PortcullisError =>
      new PortcullisError({
        code,
        kind: 'precondition',
        attempted: 'open',
        on: 'ipvs',
        why: code,
        fix: 'wait',
      });
    const warned: string[] = [];
    let code = 'NETWORK_IPVS_SETTING';
    shell(link);
    const balancer = openSwitch('nftables', {
      openIpvs: () => {
        throw refused(code);
      },
      openNftables: openNftablesBalancer,
      ipvsRemains: ipvsLeftovers,
      log: { info: () => {}, warn: (_: unknown, message?: string) => void warned.push(message ?? '') },
      clock: () => performance.now(),
    });
    try {
      balancer.reconcile([webServer]);
      balancer.reconcile([webServer]);
      assert.deepEqual([left(), warned.length], [true, 1]);
      code = 'NETWORK_IPVS_MISSING';
      balancer.reconcile([webServer]);
      assert.deepEqual([left(), warned.length], [false, 1]);
    } finally {
      balancer.removeAll();
      balancer.close();
    }
  });
}
