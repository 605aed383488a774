import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodePortAddresses } from './node-port-addresses.ts';

const ofNode = ['192.0.2.9', 'fd00::9'];
const ofHost = ['127.0.0.1', '192.0.2.9', '198.51.100.4', '10.88.0.1', '::1', 'fe80::1', 'FD00::9'];

const table: readonly (readonly [asked: readonly string[], served: readonly string[]])[] = [
  [['primary'], ['192.0.2.9', 'fd00::9']],
  [['192.0.2.0/24'], ['192.0.2.9']],
  [
    ['198.51.100.0/24', '192.0.2.0/24'],
    ['192.0.2.9', '198.51.100.4'],
  ],
  [['fd00::/8'], ['fd00::9']],
  [['203.0.113.0/24'], []],
  [['0.0.0.0/0'], ['10.88.0.1', '192.0.2.9', '198.51.100.4']],
  [['127.0.0.0/8', '::1/128', 'fe80::/10'], []],
];
for (const [asked, served] of table)
  test(`node ports with nodePortAddresses ${asked.join()}: ${served.join() || 'nowhere'}`, () =>
    assert.deepEqual(nodePortAddresses(asked, ofNode, ofHost), served));

test('a host with many addresses is served at all of them', () => {
  const many = Array.from({ length: 100 }, (_, index) => `192.0.2.${index + 1}`);
  assert.deepEqual(nodePortAddresses(['0.0.0.0/0'], [], many), many.toSorted());
});
