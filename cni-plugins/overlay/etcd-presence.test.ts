import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createEtcdPresence } from './etcd-presence.ts';
import type { EtcdPresence } from './etcd-presence.ts';

const opened = (): { presence: EtcdPresence; messages: string[] } => {
  const messages: string[] = [];
  const log = {
    info: (_fields: object, message: string) => void messages.push(message),
    warn: (_fields: object, message: string) => void messages.push(message),
  };
  const record = {
    id: 'id-1',
    underlay: '192.0.2.1',
    mtu: 1450,
    vxlan: { mac: '02:00:00:00:00:01', port: 4789 },
  };
  return { presence: createEtcdPresence({ own: { record, subnets: [], networks: [] } }, log), messages };
};

test('a host is connected while its lease and its watch work, and is joining until both have worked once', () => {
  const { presence, messages } = opened();
  presence.away('lease', new Error('it is away'));
  presence.back('watch');
  assert.deepEqual([presence.state, presence.trouble], ['joining', 'it is away']);
  presence.back('lease');
  assert.deepEqual([presence.state, presence.trouble], ['connected', undefined]);
  presence.away('watch', new Error('it is away'));
  assert.equal(presence.state, 'away');
  assert.deepEqual([presence.works('lease'), presence.works('watch')], [true, false]);
  assert.equal(messages.at(1), 'this host is in the overlay');
});

test('the same problem is logged once until the host is back', () => {
  const { presence, messages } = opened();
  for (const connection of ['lease', 'watch', 'lease'] as const)
    presence.away(connection, new Error('it is away'));
  assert.equal(messages.length, 1);
  presence.back('lease');
  presence.back('watch');
  presence.back('watch');
  assert.equal(messages.length, 2);
  presence.away('watch', new Error('it is away'));
  assert.equal(messages.length, 3);
});
