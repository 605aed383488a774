import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ipBytes, parseIp } from '../spec/address.ts';
import type { AttachmentRecord, AttachmentSpec } from './record.ts';
import { rebuild } from './ruleset.ts';

const bytesOf = (ip: string): Buffer => ipBytes(parseIp(ip) ?? assert.fail());

const recordOf = (...subnets: readonly string[]): AttachmentRecord => {
  const bridge = { name: 'br', mac: '02:00:00:00:00:01', addresses: [], promiscuous: false, hairpin: false };
  const spec: Partial<AttachmentSpec> = { hostInterface: 'pc1', interface: 'eth0', mac: '02:00:00:00:00:02', bridge, addresses: [] };
  const rest: Partial<AttachmentSpec> = { subnets, portMappings: [], routes: [], masquerade: true, snat: true };
  return { id: 'one', state: 'ready', class: 'user', rules: {}, spec: { ...spec, ...rest } as AttachmentSpec };
};

test('a subnet is an interval from its first address to the one after its last; one at the end of all addresses has no end', () => {
  const written = (record: AttachmentRecord): Buffer => Buffer.concat(rebuild([record], false).map(({ body }) => Buffer.from(body)));
  const within = written(recordOf('10.1.0.0/16', 'fd00:1::/64'));
  for (const ip of ['10.1.0.0', '10.2.0.0', 'fd00:1::', 'fd00:1:0:1::']) assert.ok(within.includes(bytesOf(ip)), ip);
  const last = written(recordOf('255.255.255.0/24', 'ffff:ffff:ffff:ffff::/64'));
  for (const ip of ['255.255.255.0', 'ffff:ffff:ffff:ffff::']) assert.ok(last.includes(bytesOf(ip)), ip);
});
