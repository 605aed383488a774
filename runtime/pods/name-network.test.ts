import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dnsOfNetwork, nameNetwork } from './name-network.ts';

test('a pod sends name queries to a network only if it requests this', () => {
  assert.equal(nameNetwork({}), undefined);
  assert.equal(nameNetwork({ 'portcullis.dev/dns': ' ' }), undefined);
  assert.equal(nameNetwork({ 'portcullis.dev/dns': 'shop' }), 'shop');
});

test('the gateways replace the name servers, the zone precedes the search domains, and the options stay', () => {
  const found = {
    nameServers: ['10.0.0.1', '10.0.1.1', 'fd00::1', 'fd01::1'],
    search: 'shop.portcullis.internal',
  };
  const kubelet = {
    servers: ['10.96.0.10'],
    searches: ['pay.svc.cluster.local', 'shop.portcullis.internal'],
    options: ['ndots:5'],
  };
  assert.deepEqual(dnsOfNetwork(kubelet, found), {
    servers: ['10.0.0.1', '10.0.1.1', 'fd00::1'],
    searches: ['shop.portcullis.internal', 'pay.svc.cluster.local'],
    options: ['ndots:5'],
  });
  assert.deepEqual(dnsOfNetwork(undefined, found).options, []);
});
