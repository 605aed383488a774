import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Endpoint, KubernetesService } from './objects.ts';
import { packService, packSlice, unpackService, unpackSlice } from './objects-as-text.ts';

const names = fc.oneof(fc.constantFrom('', 'a name'), fc.string());

test('any service is the same after it was packed', () => {
  const texts = fc.array(names, { maxLength: 2 });
  const port = fc.record(
    {
      name: names,
      protocol: fc.constantFrom('tcp' as const, 'udp' as const),
      port: fc.nat(65_535),
      targetPort: fc.nat(65_535),
      nodePort: fc.nat(65_535),
    },
    { requiredKeys: ['name', 'protocol', 'port'] },
  );
  const service = fc.record(
    {
      namespace: names,
      name: names,
      clusterIPs: texts,
      externalIPs: texts,
      ingressIPs: texts,
      sourceRanges: texts,
      ports: fc.array(port),
      affinitySeconds: fc.nat(),
      externalLocal: fc.boolean(),
      internalLocal: fc.boolean(),
      healthCheckNodePort: fc.nat(65_535),
      createdAt: fc.nat(),
      annotations: fc.dictionary(fc.string(), fc.string(), { maxKeys: 2 }),
    },
    {
      requiredKeys: [
        'namespace',
        'name',
        'clusterIPs',
        'externalIPs',
        'ingressIPs',
        'sourceRanges',
        'ports',
        'externalLocal',
        'internalLocal',
        'annotations',
      ],
    },
  );
  fc.assert(
    fc.property(service as fc.Arbitrary<KubernetesService>, (one) =>
      assert.deepEqual(unpackService(packService(one)), JSON.parse(JSON.stringify(one))),
    ),
  );
});

test('any slice is the same after it was packed', () => {
  const name = fc.oneof(fc.constantFrom('node-1', ' '), names);
  const endpoint = fc.record(
    {
      address: fc.oneof(fc.constantFrom('10.0.0.1', 'fd00::1'), fc.string()),
      ready: fc.boolean(),
      serving: fc.boolean(),
      terminating: fc.boolean(),
      node: name,
      forNodes: fc.array(name),
      forZones: fc.array(name),
    },
    { requiredKeys: ['address', 'ready', 'serving', 'terminating'] },
  );
  const usual = fc.record(
    {
      address: fc.ipV4(),
      ready: fc.constant(true),
      serving: fc.constant(true),
      terminating: fc.constant(false),
      node: name,
    },
    { requiredKeys: ['address', 'ready', 'serving', 'terminating'] },
  );
  fc.assert(
    fc.property(
      fc.record({
        namespace: name,
        name,
        service: name,
        ports: fc.dictionary(fc.string(), fc.nat(65_535)),
        endpoints: fc.array(fc.oneof(endpoint, usual) as fc.Arbitrary<Endpoint>),
      }),
      (slice) => assert.deepEqual(unpackSlice(packSlice(slice)), JSON.parse(JSON.stringify(slice))),
    ),
  );
});

test('the endpoints that nearly every slice has take little more than their addresses', () => {
  const endpoints = ['10.0.0.1', '10.0.0.2'].map((address) => ({
    address,
    ready: true,
    serving: true,
    terminating: false,
    node: 'node-1',
  }));
  const packed = packSlice({ namespace: 'a', name: 'b', service: 'c', ports: {}, endpoints });
  assert.ok(packed.endsWith('"endpoints":["10.0.0.1 node-1","10.0.0.2 node-1"]}'), packed);
});
