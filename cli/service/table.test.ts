import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serviceTable } from './table.ts';

type Listed = Parameters<typeof serviceTable>[0][number];

const service: Listed = {
  name: 'shop/web',
  source: 'command',
  balancer: 'nftables',
  addresses: ['10.96.0.10'],
  externalAddresses: [],
  ports: [
    { name: 'http', protocol: 'tcp', port: 80, targetPort: 8080, nodePort: 30_080 },
    { name: 'dns', protocol: 'udp', port: 53, targetPort: 53 },
  ],
  scheduler: 'rr',
  backends: [],
};
const backend = {
  address: '10.88.0.2',
  port: 8080,
  weight: 1,
  state: 'in service',
  health: 'not checked',
  active: 2,
} as const;
/** Returns the rows without the header; two or more spaces separate cells. */
const rowsOf = (listed: Listed): string[][] =>
  serviceTable([listed])
    .trimEnd()
    .split('\n')
    .slice(1)
    .map((row) => row.trim().split(/ {2,}/u));

test('a service without a backend shows all its ports, with those of the host', () => {
  assert.deepEqual(rowsOf(service), [
    ['shop/web', 'command', 'nftables', 'rr', '10.96.0.10', '80/tcp (node 30080), 53/udp', 'no backend'],
  ]);
});

test('each backend has a row of its own, with the port that it serves', () => {
  const [first, second] = rowsOf({
    ...service,
    backends: [
      { ...backend, portName: 'http' },
      {
        ...backend,
        portName: 'dns',
        address: 'fd00::2',
        port: 53,
        state: 'draining',
        until: '2030-01-01T00:00:00.000Z',
      },
    ],
  });
  assert.deepEqual(first?.slice(5), [
    '80/tcp (node 30080)',
    '10.88.0.2:8080',
    '1',
    'in service',
    'not checked',
    '2',
  ]);
  assert.deepEqual(second, [
    '53/udp',
    '[fd00::2]:53',
    '1',
    'draining until 2030-01-01T00:00:00.000Z',
    'not checked',
    '2',
  ]);
});
