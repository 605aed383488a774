import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ipBytes, parseIp } from '../../../base/addresses/index.ts';
import type { AttachmentRecord, AttachmentSpec } from '../../database/record.ts';
import { keptSubnets, rebuild, removePod } from './ruleset.ts';
import type { PodSubnets } from './ruleset.ts';

const bytesOf = (ip: string): Buffer => ipBytes(parseIp(ip) ?? assert.fail());

const recordOf = (...subnets: readonly string[]): AttachmentRecord => {
  const bridge = { name: 'br', mac: '02:00:00:00:00:01', addresses: [], promiscuous: false, hairpin: false };
  const spec: Partial<AttachmentSpec> = {
    hostInterface: 'pc1',
    interface: 'eth0',
    mac: '02:00:00:00:00:02',
    bridge,
    addresses: [],
  };
  const rest: Partial<AttachmentSpec> = {
    subnets,
    portMappings: [],
    routes: [],
    masquerade: true,
    snat: true,
  };
  return {
    id: 'one',
    state: 'ready',
    class: 'user',
    rules: {},
    spec: { ...spec, ...rest } as AttachmentSpec,
  };
};

test('a subnet is an interval from its first address to the one after its last; one at the end of all addresses has no end', () => {
  const written = (record: AttachmentRecord): Buffer =>
    Buffer.concat(rebuild([record], false).requests.map(({ body }) => Buffer.from(body)));
  const within = written(recordOf('10.1.0.0/16', 'fd00:1::/64'));
  for (const ip of ['10.1.0.0', '10.2.0.0', 'fd00:1::', 'fd00:1:0:1::'])
    assert.ok(within.includes(bytesOf(ip)), ip);
  const last = written(recordOf('255.255.255.0/24', 'ffff:ffff:ffff:ffff::/64'));
  for (const ip of ['255.255.255.0', 'ffff:ffff:ffff:ffff::']) assert.ok(last.includes(bytesOf(ip)), ip);
});

test('subnets of networks without pods stay if their tables stand: those of IPv6 need a pod with such addresses', () => {
  const stood = [{ subnets: ['10.9.0.0/16', 'fd00:9::/64'], masquerade: true }];
  const four = [recordOf('10.1.0.0/16')];
  const six = [recordOf('10.1.0.0/16', 'fd00:1::/64')];
  assert.deepEqual(keptSubnets(stood, four), [{ subnets: ['10.9.0.0/16'], masquerade: true }]);
  assert.deepEqual(keptSubnets(stood, six), stood);
  const sets = (kept: readonly PodSubnets[]): string[] =>
    rebuild(four, false, kept).requests.flatMap(({ what, on }) =>
      what.startsWith('add elements') ? [on] : [],
    );
  assert.deepEqual(sets(keptSubnets(stood, four)), sets([]));
  assert.notDeepEqual(sets(stood), sets([]), 'unlike those of IPv6');
});

test('when pods share an address, the last one to be removed removes the element that keeps others from using it', () => {
  const held = (id: string, bridge: string, state: AttachmentRecord['state'] = 'ready'): AttachmentRecord => {
    const record = recordOf('10.1.0.0/16', 'fd00:1::/64');
    const { bridge: known } = record.spec;
    const spec: Partial<AttachmentSpec> = {
      hostInterface: `pc${id}`,
      bridge: { ...(known ?? assert.fail()), name: bridge, addresses: ['10.1.0.1/16'] },
      addresses: ['10.1.0.9', 'fd00:1::9'].map((ip) => ({ ip, prefixLength: 64, gateway: '' })),
    };
    return { ...record, id, state, spec: { ...record.spec, ...spec } };
  };
  /** Returns the sets from which elements with the address are deleted. */
  const loses = (record: AttachmentRecord, ...all: AttachmentRecord[]): string[] =>
    removePod(record, all).flatMap(({ body }) => {
      const bytes = Buffer.from(body);
      const names = ['held_links', 'held', 'pods4', 'pods6'].filter((name) => bytes.includes(`\0${name}\0`));
      return ['10.1.0.9', 'fd00:1::9'].some((ip) => bytes.includes(bytesOf(ip))) ? names : [];
    });
  const all = ['held', 'held', 'held_links', 'held_links', 'pods4', 'pods6'];
  const own = held('1', 'br1');
  assert.deepEqual(loses(own, own).toSorted(), all);
  // It no longer comes through its own bridge.
  assert.deepEqual(loses(own, own, held('2', 'br2')), ['held_links', 'held_links']);
  assert.deepEqual(loses(own, own, held('2', 'br1')), []);
  assert.deepEqual(loses(own, own, held('2', 'br2', 'detaching')).toSorted(), all);
});
