import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checked } from '../control/checked.ts';
import { readService, readSlice } from './objects.ts';
import { translate } from './translate.ts';
import type { Translation } from './translate.ts';

function translated(clusterIP: string, addressType: string, ...slices: readonly string[][]): Translation {
  const service = readService({
    metadata: { namespace: 'shop', name: 'web' },
    spec: { clusterIP, ports: [{ port: 80, targetPort: 8080 }] },
  });
  assert.ok(service);
  const read = slices.flatMap((addresses, at) => {
    const labels = { 'kubernetes.io/service-name': 'web' };
    const endpoints = addresses.map((address) => ({ addresses: [address] }));
    const metadata = { namespace: 'shop', name: `web-${at}`, labels };
    return readSlice({ metadata, addressType, ports: [{ port: 8080 }], endpoints }) ?? [];
  });
  const found = translate(service, read, { nodeName: 'here' });
  for (const each of found.services) assert.ok(!('code' in checked('kubernetes', each)), 'it is not refused');
  return found;
}
const backends = ({ services }: Translation): readonly string[] =>
  services.flatMap(({ backends: all }) => all.map(({ address }) => address));

test('an endpoint to which no connection can lead does not cost a service its other endpoints', () => {
  for (const wrong of ['239.1.1.1', '255.255.255.255', '0.1.2.3', '127.0.0.1', '169.254.169.254']) {
    const found = translated('10.96.0.1', 'IPv4', ['10.9.0.1', wrong, '10.9.0.2']);
    assert.deepEqual(backends(found), ['10.9.0.1', '10.9.0.2'], wrong);
    assert.match(found.notes.join(), new RegExp(`^1 endpoints get no connections: ${wrong} is`, 'u'));
  }
  const itself = translated('10.96.0.1', 'IPv4', ['10.96.0.1', '10.9.0.1']);
  assert.deepEqual(backends(itself), ['10.9.0.1']);
  assert.match(itself.notes.join(), /^1 endpoints get no connections: 10\.96\.0\.1 is a cluster IP of the/u);
  const six = translated('fd00::5', 'IPv6', ['fd00::1', 'ff05::1', 'fe80::1%eth0', '::ffff:10.0.0.1']);
  assert.deepEqual(backends(six), ['fd00::1']);
});

test('an IPv6 endpoint counts once, however slices write its address', () => {
  const found = translated(
    'fd00::5',
    'IPv6',
    ['FD00:0::1', '64:ff9b::192.0.2.1'],
    ['fd00::1', '64:ff9b::c000:201'],
  );
  assert.deepEqual(backends(found), ['64:ff9b::c000:201', 'fd00::1']);
  assert.deepEqual(found.notes, []);
});
