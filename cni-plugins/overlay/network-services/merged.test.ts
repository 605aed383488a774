import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encode, keysOf } from '../records/records.ts';
import { createMerged } from './merged.ts';
import type { Merged } from './merged.ts';
import type { Holding, HostMembers, ServiceClaim, VirtualRecord } from '../records/service-records.ts';

const keys = keysOf('shop');
const holdMs = 1000;
const nobody: ReadonlySet<string> = new Set();

const host = (name: string) => ({ key: keys.host(name), value: encode({}) });
const virtual = {
  key: keys.virtual('web'),
  value: encode({ mode: 'vip', addresses: ['10.128.9.7'] } satisfies VirtualRecord),
};
const port = { key: keys.port('tcp-30080'), value: encode({ service: 'web' } satisfies ServiceClaim) };
const holder = (name: string, ingressPorts = ['tcp-30080']) => ({
  key: keys.holder('web', name),
  value: encode({ host: name, id: name, ingressPorts } satisfies Holding),
});
const members = (name: string, address = '10.128.2.2') => ({
  key: keys.members('web', name),
  value: encode({
    members: [
      { id: `on-${name}`, addresses: [address], isReady: true, aliases: [], ports: [], ingressPorts: [] },
    ],
  } satisfies HostMembers),
});
const gone = ({ key }: { readonly key: string }) => ({ key, value: undefined });
const all = [host('two'), virtual, port, holder('two'), members('two')];

const known = (): Merged => {
  const merged = createMerged('one', keys, holdMs);
  merged.list(all, 0, nobody);
  return merged;
};
const hostsOf = (merged: Merged): string[] => [...(merged.service('web')?.members.keys() ?? [])];

test('a service has the members of all other hosts; members of this host are read from their own records', () => {
  const merged = known();
  merged.change([members('one'), members('three', '10.128.3.2')], 1);
  assert.deepEqual(hostsOf(merged), ['three', 'two']);
  assert.deepEqual(merged.service('web')?.ingressPorts, ['tcp-30080']);
  assert.deepEqual([...merged.taken()], ['web']);
  assert.deepEqual([...merged.taken()], []);
});

test('a member that leaves while its host is present has left', () => {
  const merged = known();
  merged.change([gone(members('two')), gone(holder('two'))], 10);
  assert.deepEqual(hostsOf(merged), []);
});

test('a lease that ended removes no members until the hold time is over', () => {
  const merged = known();
  // In etcd's order: by key, of one revision.
  merged.change([gone(host('two')), gone(members('two'))], 10);
  merged.expire(9 + holdMs, nobody);
  assert.deepEqual(hostsOf(merged), ['two']);
  assert.equal(merged.nextExpiry(), 10 + holdMs);
  merged.expire(10 + holdMs, nobody);
  assert.deepEqual(hostsOf(merged), []);
  assert.equal(merged.nextExpiry(), undefined);
  assert.deepEqual(
    merged.service('web')?.addresses,
    ['10.128.9.7'],
    'its addresses and ports are not given to another service until it is released',
  );
});

test('the release of a host removes its held members', () => {
  const merged = known();
  merged.change([gone(host('two')), gone(members('two'))], 10);
  merged.change([gone(holder('two'))], 20);
  assert.deepEqual(hostsOf(merged), []);
});

test('a host that comes back writes its members before its record; members that it does not write again have left', () => {
  for (const again of [true, false]) {
    const merged = known();
    merged.change([gone(host('two')), gone(members('two'))], 10);
    merged.change([...(again ? [members('two')] : []), host('two')], 20);
    assert.deepEqual(hostsOf(merged), again ? ['two'] : []);
    assert.equal(merged.nextExpiry(), undefined);
  }
});

test('after missed changes, members of a present host have left, and members of an absent host are held', () => {
  const merged = known();
  merged.list([host('two'), virtual, port], 10, nobody);
  assert.deepEqual(hostsOf(merged), []);
  const other = known();
  other.list([virtual, port, holder('two')], 10, nobody);
  assert.deepEqual(hostsOf(other), ['two']);
  assert.equal(other.nextExpiry(), 10 + holdMs);
});

test('an etcd that was restored empty changes nothing during the hold time; then keys that were not written again are removed', () => {
  const merged = known();
  merged.list([], 10, nobody);
  assert.deepEqual(hostsOf(merged), ['two']);
  assert.deepEqual(merged.service('web')?.ingressPorts, ['tcp-30080']);
  merged.expire(10 + holdMs, nobody);
  assert.equal(merged.service('web'), undefined);
  const own = known();
  own.list([], 10, new Set(['web']));
  own.expire(10 + holdMs, new Set(['web']));
  assert.deepEqual(
    own.service('web')?.addresses,
    ['10.128.9.7'],
    'this host has members, so it writes the service again',
  );
});

test('saved state from before the start applies until etcd answers', () => {
  const merged = createMerged('one', keys, holdMs, new Map([['web', known().service('web')!]]));
  assert.deepEqual(hostsOf(merged), ['two']);
  assert.equal(merged.portHolder('tcp-30080'), 'web');
  merged.list([host('two')], 0, nobody);
  assert.equal(merged.service('web'), undefined);
  assert.equal(merged.portHolder('tcp-30080'), undefined);
});

const unreadable: readonly (readonly [string, string])[] = [
  [keys.virtual('web'), 'no JSON'],
  [keys.virtual('web'), '{"mode":"vip","addresses":[]}'],
  [keys.virtual('web'), '{"mode":"both","addresses":["10.0.0.1"]}'],
  [keys.virtual('../web'), '{"mode":"dnsrr","addresses":[]}'],
  [keys.members('web', 'two'), '{"members":[{}]}'],
  [
    keys.members('web', 'two'),
    '{"members":[{"id":"x","addresses":["10.128.2.300"],"isReady":true,"aliases":[],"ports":[],"ingressPorts":[]}]}',
  ],
  [
    keys.members('web', 'two'),
    '{"members":[{"id":"x","addresses":[],"isReady":true,"aliases":["a b"],"ports":[],"ingressPorts":[]}]}',
  ],
  [
    keys.members('web', 'two'),
    '{"members":[{"id":"x","addresses":[],"isReady":true,"aliases":[],"ports":[{"protocol":"tcp","port":0,"targetPort":1}],"ingressPorts":[]}]}',
  ],
  [keys.port('tcp-30080'), '{"service":"a/b"}'],
  [`${keys.all}members/web`, '{"members":[]}'],
  [`${keys.all}members/web/two/three`, '{"members":[]}'],
];

test('a value that cannot be read changes nothing', () => {
  for (const [key, text] of unreadable) {
    const merged = known();
    const before = merged.service('web');
    merged.change([{ key, value: Buffer.from(text) }], 10);
    assert.deepEqual(merged.service('web'), before, `${key} ${text}`);
    assert.deepEqual(merged.names(), ['web']);
  }
});
