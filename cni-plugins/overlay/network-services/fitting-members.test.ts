import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fittingMembers } from './fitting-members.ts';
import type { LocalMember } from './fitting-members.ts';
import type { VirtualRecord } from '../records/service-records.ts';

const local = (id: string, more: Partial<LocalMember> = {}): LocalMember => ({
  id,
  owner: 'shop',
  service: 'web',
  mode: 'vip',
  virtualIPs: [],
  addresses: ['10.128.1.2'],
  isReady: true,
  aliases: [],
  ports: [],
  ingressPorts: [],
  ...more,
});
const existing = (record: VirtualRecord) => ({ record, key: 'key', revision: 1 });
const others = (hosts: readonly string[] = []) => ({
  service: () =>
    ({
      mode: 'vip',
      addresses: [],
      ingressPorts: [],
      members: new Map(hosts.map((host) => [host, []])),
    }) as const,
});
const own = { sharedServices: [] };
const idsOf = (members: readonly LocalMember[]): string[] => members.map(({ id }) => id);

test('the first member of a new service defines its mode and its namespace; members that differ wait without an error', () => {
  const given = [local('a', { mode: 'dnsrr' }), local('b'), local('c', { mode: 'dnsrr', owner: 'pay' })];
  const { mode, owner, members, refusals } = fittingMembers('web', given, undefined, {
    rules: own,
    others: others(),
  });
  assert.deepEqual([mode, owner, idsOf(members), refusals], ['dnsrr', 'shop', ['a'], []]);
});

test('a member of another namespace or mode is refused by name, with at most three hosts of the service', () => {
  const given = [local('a'), local('b', { owner: 'pay' }), local('c', { mode: 'dnsrr' })];
  const record: VirtualRecord = { mode: 'vip', owner: 'shop', addresses: ['10.128.9.7'] };
  const { members, refusals } = fittingMembers('web', given, existing(record), {
    rules: own,
    others: others(['h1', 'h2', 'h3', 'h4']),
  });
  assert.deepEqual(idsOf(members), ['a']);
  assert.deepEqual(refusals, [
    'NETWORK_SERVICE_OTHER_NAMESPACE: b of pay joins, and the service belongs to shop (h1, h2, h3)',
    'NETWORK_SERVICE_MODE_DIFFERS: c joins with the mode dnsrr, and the service has vip (h1, h2, h3)',
  ]);
});

test('members of all namespaces join a shared service, and none joins a service of a host of an earlier version', () => {
  const given = [local('a'), local('b', { owner: 'pay' })];
  const record: VirtualRecord = { mode: 'vip', addresses: ['10.128.9.7'] };
  for (const shared of ['*', 'web'])
    assert.deepEqual(
      idsOf(
        fittingMembers('web', given, existing(record), {
          rules: { sharedServices: [shared] },
          others: others(),
        }).members,
      ),
      ['a', 'b'],
    );
  const { members, refusals } = fittingMembers('web', given, existing(record), {
    rules: { sharedServices: ['other'] },
    others: others(),
  });
  assert.deepEqual(idsOf(members), []);
  assert.match(
    refusals.join('\n'),
    /^NETWORK_SERVICE_OTHER_NAMESPACE: a of shop joins, and the service belongs to hosts of an earlier version$/mu,
  );
});
