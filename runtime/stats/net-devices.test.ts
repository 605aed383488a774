import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseNetDevices } from './net-devices.ts';

const heading = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
`;

test('the counters of each interface but lo', () => {
  const text = `${heading}    lo: 1454 58    0    0    0     0          0         0 1454 58    0    0    0     0       0          0
  eth0: 3178512744  133885    1    2    3     4          5         6 13046100  103425    7    8    9     10       11          12
net1.7:540 6 0 0 0 0 0 0 0 0 0 0 0 0 0 0
`;
  assert.deepEqual(parseNetDevices(text), [
    {
      name: 'eth0',
      rxBytes: 3178512744,
      rxPackets: 133885,
      rxErrors: 1,
      rxDropped: 2,
      txBytes: 13046100,
      txPackets: 103425,
      txErrors: 7,
      txDropped: 8,
    },
    {
      name: 'net1.7',
      rxBytes: 540,
      rxPackets: 6,
      rxErrors: 0,
      rxDropped: 0,
      txBytes: 0,
      txPackets: 0,
      txErrors: 0,
      txDropped: 0,
    },
  ]);
});

test('the text of this kernel contains every interface', () => {
  const text = readFileSync('/proc/self/net/dev', 'utf8');
  const lines = text
    .split('\n')
    .slice(2)
    .filter((line) => line !== '' && !line.trim().startsWith('lo:'));
  assert.equal(parseNetDevices(text).length, lines.length);
});

test('no text makes the parser throw', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.string(), fc.constantFrom('eth0: 1 2 3', 'a:b: 1', ': 1', heading))),
      (lines) => {
        for (const device of parseNetDevices(lines.join('\n'))) assert.notEqual(device.name, '');
      },
    ),
  );
});
