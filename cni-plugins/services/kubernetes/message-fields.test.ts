import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readMessage } from '../../../base/kubernetes/index.ts';
import { protobufObject } from '../../../test/fixtures/kubernetes/protobuf-list.ts';
import { serviceFields, sliceFields } from './message-fields.ts';
import { readService, readSlice } from './objects.ts';

const optional = fc.constantFrom;
const address = optional('10.96.0.1', '10.96.0.2', 'fd00::1', '192.0.2.7', 'none');
const addresses = fc.array(address, { maxLength: 3 });
const port = fc.integer({ min: 0, max: 70_000 });
const name = fc.string({ unit: optional('a', '-', 'é', '"', '\\'), maxLength: 12 });
const protocol = optional('TCP', 'UDP', 'SCTP', 'other');
const metadata = fc.record(
  {
    name,
    namespace: optional('shop', 'n'),
    uid: name,
    labels: optional({ 'kubernetes.io/service-name': 'web', app: 'x' }, { app: 'x' }),
    annotations: optional({ 'portcullis.dev/scheduler': 'lc', other: 'x' }, { other: 'x' }),
    creationTimestamp: optional('2026-01-01T00:00:00Z', '1969-01-01T00:00:00Z'),
  },
  { requiredKeys: ['name', 'namespace'] },
);
const service = fc.record(
  {
    metadata,
    spec: fc.record(
      {
        ports: fc.array(
          fc.record(
            { name, protocol, port, targetPort: fc.oneof(port, optional('web')), nodePort: port },
            { requiredKeys: ['port'] },
          ),
          { maxLength: 3 },
        ),
        type: optional('ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'),
        selector: optional({ app: 'x' }),
        clusterIP: optional('10.96.0.1', 'None'),
        clusterIPs: fc.array(address, { minLength: 1, maxLength: 2 }),
        externalIPs: addresses,
        sessionAffinity: optional('ClientIP', 'None'),
        sessionAffinityConfig: optional({ clientIP: { timeoutSeconds: 60 } }, { clientIP: {} }),
        loadBalancerSourceRanges: optional(['10.0.0.0/8', ' 192.0.2.0/24 ']),
        externalTrafficPolicy: optional('Local', 'Cluster'),
        internalTrafficPolicy: optional('Local', 'Cluster'),
        healthCheckNodePort: port,
      },
      { requiredKeys: ['ports', 'clusterIP'] },
    ),
    status: fc.record({
      loadBalancer: fc.record({
        ingress: fc.array(
          fc.record({ ip: address, ipMode: optional('VIP', 'Proxy') }, { requiredKeys: ['ip'] }),
          { maxLength: 2 },
        ),
      }),
    }),
  },
  { requiredKeys: ['metadata', 'spec'] },
);
const named = fc.array(fc.record({ name: optional('a', 'b') }), { minLength: 1, maxLength: 2 });
const slice = fc.record(
  {
    metadata,
    addressType: optional('IPv4', 'IPv6', 'FQDN'),
    ports: fc.array(fc.record({ name, protocol, port }, { requiredKeys: [] }), { maxLength: 3 }),
    endpoints: fc.array(
      fc.record(
        {
          addresses,
          conditions: fc.record(
            { ready: fc.boolean(), serving: fc.boolean(), terminating: fc.boolean() },
            { requiredKeys: [] },
          ),
          nodeName: optional('node-1'),
          targetRef: optional({ kind: 'Pod', name: 'web-1' }),
          hints: fc.record({ forZones: named, forNodes: named }, { requiredKeys: [] }),
        },
        { requiredKeys: ['addresses'] },
      ),
      { maxLength: 3 },
    ),
  },
  { requiredKeys: ['metadata', 'addressType'] },
);

test('a Service and an EndpointSlice mean the same in Protocol Buffers and in JSON', () => {
  fc.assert(
    fc.property(service, (object) => {
      assert.deepEqual(
        readService(readMessage(protobufObject('Service', object), serviceFields)),
        readService(JSON.parse(JSON.stringify(object))),
      );
    }),
    { numRuns: 500, seed: 7 },
  );
  fc.assert(
    fc.property(slice, (object) => {
      assert.deepEqual(
        readSlice(readMessage(protobufObject('EndpointSlice', object), sliceFields)),
        readSlice(JSON.parse(JSON.stringify(object))),
      );
    }),
    { numRuns: 500, seed: 7 },
  );
});
