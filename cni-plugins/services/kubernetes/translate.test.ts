import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { assertNearLinearWork } from '../../../test/fixtures/cost.ts';
import { expand } from '../control/expand.ts';
import type { Service } from '../model/model.ts';
import { refusalOf } from '../nftables/plan.ts';
import { localReady } from './endpoints.ts';
import type { Place } from './endpoints.ts';
import { readService, readSlice } from './objects.ts';
import type { EndpointSlice, KubernetesService } from './objects.ts';
import { mostServers, translate } from './translate.ts';
import type { Translation } from './translate.ts';

const place: Place = { nodeName: 'here' };
const bothFamilies = ['10.96.0.1', 'fd00:10:96::1'];
const fourOnly = { clusterIPs: ['10.96.0.1'] };

interface Written {
  readonly spec?: object;
  readonly status?: object;
  readonly annotations?: object;
}

const service = ({ spec, status, annotations }: Written): object => ({
  metadata: { namespace: 'shop', name: 'web', annotations },
  spec: {
    clusterIP: '10.96.0.1',
    clusterIPs: ['10.96.0.1'],
    ports: [{ port: 80, targetPort: 8080, protocol: 'TCP' }],
    ...spec,
  },
  status,
});

interface WrittenEndpoint {
  readonly ready?: boolean | null;
  readonly serving?: boolean;
  readonly terminating?: boolean;
  readonly node?: string;
  readonly hints?: object;
}

const endpoint = (address: string, { node, hints, ...conditions }: WrittenEndpoint = {}): object => ({
  addresses: [address],
  conditions,
  ...(node !== undefined && { nodeName: node }),
  ...(hints !== undefined && { hints }),
});

const slice = (endpoints: readonly object[], more: object = {}): object => ({
  metadata: { namespace: 'shop', name: 'web-1', labels: { 'kubernetes.io/service-name': 'web' } },
  addressType: 'IPv4',
  ports: [{ port: 8080, protocol: 'TCP' }],
  endpoints,
  ...more,
});

const slicesOf = (objects: readonly object[]): EndpointSlice[] =>
  objects.flatMap((object) => readSlice(object) ?? []);

function translated(written: Written, slices: readonly object[], where: Place = place): Translation {
  const read = readService(service(written));
  assert.ok(read, 'the service is read');
  return translate(read, slicesOf(slices), where);
}

const inside = ({ services }: Translation): Service => services.find(({ name }) => name === 'shop/web')!;
const outside = ({ services }: Translation): Service =>
  services.find(({ name }) => name === 'shop/web.external')!;
/**
 * Returns `address:weight`, without a weight of 1, followed by ports that differ and ports that are missing.
 */
const reported = ({ backends }: Service): string =>
  backends
    .map(
      ({ address, weight, ports, without, quiescentPorts, insidePorts }) =>
        address +
        (weight === undefined ? '' : `:${weight}`) +
        (ports === undefined ? '' : ` ${JSON.stringify(ports)}`) +
        (without === undefined ? '' : ` -${without.join()}`) +
        (quiescentPorts === undefined ? '' : ` 0:${quiescentPorts.join()}`) +
        (insidePorts === undefined ? '' : ` inside:${insidePorts.join()}`),
    )
    .join(' | ');

test('new connections and existing connections go to the endpoints that kube-proxy would use', () => {
  const gone = { ready: false, serving: false, terminating: true };
  const ending = { ready: false, serving: true, terminating: true };
  const unready = { ready: false, serving: false, terminating: false };
  const udp = { spec: { ports: [{ port: 53, targetPort: 8080, protocol: 'UDP' }] } };
  const udpPorts = { ports: [{ port: 8080, protocol: 'UDP' }] };
  const rows: readonly (readonly [what: string, endpoints: readonly object[], tcp: string, udp: string])[] = [
    [
      'ready',
      [endpoint('10.0.0.2'), endpoint('10.0.0.1', { ready: true })],
      '10.0.0.1 | 10.0.0.2',
      '10.0.0.1 | 10.0.0.2',
    ],
    ['readiness is null', [endpoint('10.0.0.1', { ready: null })], '10.0.0.1', '10.0.0.1'],
    [
      'one is not ready',
      [endpoint('10.0.0.1'), endpoint('10.0.0.2', unready)],
      '10.0.0.1 | 10.0.0.2:0',
      '10.0.0.1',
    ],
    [
      'one is terminating',
      [endpoint('10.0.0.1'), endpoint('10.0.0.2', ending)],
      '10.0.0.1 | 10.0.0.2:0',
      '10.0.0.1 | 10.0.0.2:0',
    ],
    [
      'one is terminating and not serving',
      [endpoint('10.0.0.1'), endpoint('10.0.0.2', gone)],
      '10.0.0.1',
      '10.0.0.1',
    ],
    [
      'all are terminating',
      [endpoint('10.0.0.1', ending), endpoint('10.0.0.2', ending), endpoint('10.0.0.3', unready)],
      '10.0.0.1 | 10.0.0.2 | 10.0.0.3:0',
      '10.0.0.1 | 10.0.0.2',
    ],
    [
      'ready while terminating: publishNotReadyAddresses',
      [endpoint('10.0.0.1', { ready: true, serving: false, terminating: true })],
      '10.0.0.1',
      '10.0.0.1',
    ],
    [
      'none is serving: UDP flows cannot go to another endpoint',
      [endpoint('10.0.0.1', unready)],
      '10.0.0.1:0',
      '10.0.0.1:0',
    ],
    [
      'serving is not set',
      [endpoint('10.0.0.1', { ready: false, terminating: true })],
      '10.0.0.1',
      '10.0.0.1',
    ],
    ['none', [], '', ''],
  ];
  for (const [what, endpoints, expectedTcp, expectedUdp] of rows) {
    assert.equal(reported(inside(translated({}, [slice(endpoints)]))), expectedTcp, what);
    assert.equal(
      reported(inside(translated(udp, [slice(endpoints, udpPorts)]))),
      expectedUdp,
      `${what}, UDP`,
    );
  }
});

test('flows of UDP stay with an endpoint that serves and that a hint or a policy excludes', () => {
  const ports = [
    { name: 'dns', port: 53, protocol: 'UDP' },
    { name: 'dns-tcp', port: 53, protocol: 'TCP' },
  ];
  const unready = { node: 'there', ready: false, serving: false };
  const spec = { ports: ports.map((port) => ({ ...port, targetPort: 53 })) };
  const local = { spec: { ...spec, internalTrafficPolicy: 'Local' } };
  const here = endpoint('10.0.0.1', { node: 'here' });
  const there = endpoint('10.0.0.2', { node: 'there' });
  assert.equal(
    reported(inside(translated(local, [slice([here, there, endpoint('10.0.0.3', unready)], { ports })]))),
    '10.0.0.1 | 10.0.0.2:0 -dns-tcp',
  );
  assert.equal(
    reported(inside(translated(local, [slice([there], { ports })]))),
    '10.0.0.2:0 -dns-tcp',
    'a policy that excludes all',
  );
  const zones = ['a', 'b'].map((name, at) =>
    endpoint(`10.0.0.${at + 1}`, { hints: { forZones: [{ name }] } }),
  );
  assert.equal(
    reported(inside(translated({ spec }, [slice(zones, { ports })], { ...place, zone: 'a' }))),
    '10.0.0.1 | 10.0.0.2:0 -dns-tcp',
    'a hint',
  );
});

test('a port that few endpoints serve keeps them, even if many endpoints serve the other ports', () => {
  const ports = ['http', 'grpc', 'admin'].map((name, index) => ({
    name,
    port: 80 + index,
    targetPort: name,
  }));
  const served = (name: string, number: number, count: number): object =>
    slice(
      Array.from({ length: count }, (_, index) => endpoint(`10.${number}.${index >> 8}.${index & 255}`)),
      { ports: [{ name, port: 8080, protocol: 'TCP' }] },
    );
  for (const count of [600, 1100])
    for (let node = 0; node < 20; node += 1) {
      const slices = [served('http', 1, count), served('grpc', 2, count), served('admin', 3, 1)];
      const translation = translated({ spec: { ports } }, slices, { nodeName: `node-${node}` });
      const { backends } = inside(translation);
      assert.ok(backends.length <= 1024);
      assert.deepEqual(
        backends.filter(({ address }) => address === '10.3.0.0'),
        [{ address: '10.3.0.0', without: ['http', 'grpc'] }],
      );
      assert.equal(translation.notes.length, 2, 'one note for each port with many endpoints');
    }
});

test('nf_tables supports the servers of a Service with each scheduler and any number of endpoints', () => {
  for (const scheduler of ['rr', 'wrr', 'lc', 'sh', 'maglev'])
    for (const count of [256, 1021, 1022, 1024, 3000]) {
      const many = Array.from({ length: count }, (_, index) => endpoint(`10.1.${index >> 8}.${index & 255}`));
      const { services } = translated({ annotations: { 'portcullis.dev/scheduler': scheduler } }, [
        slice(many),
      ]);
      const alive = { drained: false, unhealthy: false };
      for (const server of services.flatMap((each) => expand(each, () => alive)))
        assert.equal(refusalOf(server), undefined, `${scheduler} ${count}`);
    }
});

test('if the node may connect from its Node address, it may also connect from the load balancer’s address', () => {
  const ranges = (nodeAddresses: readonly string[], loadBalancerSourceRanges: readonly string[]): unknown =>
    outside(
      translated(
        {
          spec: { clusterIPs: bothFamilies, loadBalancerSourceRanges },
          status: { loadBalancer: { ingress: [{ ip: '192.0.2.1' }, { ip: '2001:db8::1' }] } },
        },
        [],
        { ...place, nodeAddresses },
      ),
    ).loadBalancerSourceRanges;
  const both = ['10.0.0.0/8', 'fd00::/8'];
  assert.deepEqual(ranges([], both), both);
  assert.deepEqual(ranges(['172.16.0.1', 'fe00::1'], both), both);
  assert.deepEqual(ranges(['10.9.0.1'], both), ['10.0.0.0/8', '192.0.2.1/32', 'fd00::/8']);
  assert.deepEqual(ranges(['10.9.0.1', 'fd00::9'], both), [
    ...['10.0.0.0/8', '192.0.2.1/32'],
    ...['fd00::/8', '2001:db8::1/128'],
  ]);
  const many = Array.from({ length: 1024 }, (_, index) => `10.${index >> 8}.${index & 255}.0/24`);
  assert.equal((ranges(['10.0.0.1'], many) as unknown[]).length, 1024, 'no further range fits');
});

test('if there are more endpoints than a virtual server supports, each node uses a part, which changes little with one endpoint', () => {
  const addresses = Array.from({ length: 2000 }, (_, index) => `10.0.${index >> 8}.${index & 255}`);
  const over = (count: number, where: Place = place): Translation =>
    translated(
      {},
      [
        slice(addresses.slice(0, Math.min(count, 300)).map((each) => endpoint(each))),
        slice(addresses.slice(300, count).map((each) => endpoint(each))),
      ],
      where,
    );
  const taking = (translation: Translation): string[] =>
    inside(translation)
      .backends.filter(({ weight }) => weight !== 0)
      .map(({ address }) => address);
  const here = taking(over(2000));
  assert.equal(here.length, 1024);
  assert.deepEqual(over(2000).notes, [
    'more than 1024 endpoints of port 80/tcp are ready: 1024 of them get connections from this node, others from other nodes',
  ]);
  const before = taking(over(1999));
  assert.ok(
    here.filter((each) => !before.includes(each)).length <= 1,
    'a new endpoint replaces one other endpoint',
  );
  const reached = new Set(
    Array.from({ length: 20 }, (_, node) => taking(over(2000, { nodeName: `node-${node}` }))).flat(),
  );
  assert.equal(reached.size, 2000, 'each endpoint is used by some node');
  assert.deepEqual([over(1024).notes, taking(over(1024)).length], [[], 1024]);
});

test('a service with many addresses and ports uses fewer endpoints of each, and keeps the connections of the others', () => {
  const addresses = Array.from({ length: 300 }, (_, index) => `10.0.${index >> 8}.${index & 255}`);
  const externalIPs = Array.from({ length: 1500 }, (_, index) => `198.18.${index >> 8}.${index & 255}`);
  const { services, notes } = translated({ spec: { externalIPs } }, [
    slice(addresses.map((each) => endpoint(each))),
  ]);
  const [own, external] = services.map(({ backends }) => backends);
  assert.equal(own?.filter(({ weight }) => weight !== 0).length, 300);
  assert.equal(external?.filter(({ weight }) => weight !== 0).length, 256);
  assert.equal(external?.length, 300);
  assert.deepEqual(notes, [
    'more than 256 endpoints of port 80/tcp are ready: 256 of them get connections from this node, others from other nodes',
  ]);
});

test('all ports of a service with too many endpoints get the same ones, as many as of a single port', () => {
  const ports = Array.from({ length: 9 }, (_, at) => ({ name: `p${at}`, port: 8000 + at, protocol: 'TCP' }));
  const many = Array.from({ length: 1500 }, (_, index) => endpoint(`10.${index >> 8}.0.${index & 255}`));
  const written = { spec: { ports: ports.map((port) => ({ ...port, targetPort: port.port })) } };
  const { services, notes } = translated(written, [slice(many, { ports })]);
  const [{ backends } = { backends: [] }] = services;
  assert.deepEqual([backends.length, backends.filter((each) => Object.keys(each).length > 1)], [1024, []]);
  assert.equal(
    notes[0],
    'more than 1024 endpoints of port 8000/tcp are ready: 1024 of them get connections from this node, others from other nodes',
  );
});

test('if there are more endpoints than a service may have, those that get connections stay', () => {
  const many = Array.from({ length: 3000 }, (_, index) => endpoint(`10.${index >> 8}.0.${index & 255}`));
  const { backends } = inside(translated({}, [slice(many)]));
  assert.equal(backends.length, 1024);
  assert.equal(backends.filter(({ weight }) => weight !== 0).length, 1024);
});

test('Local policies use the endpoints of this node, and terminating endpoints if there are no others', () => {
  const here = { node: 'here' };
  const ending = { ...here, ready: false, serving: true, terminating: true };
  const slices = [
    slice([
      endpoint('10.0.0.1', here),
      endpoint('10.0.0.2', { node: 'there' }),
      endpoint('10.0.0.3', ending),
    ]),
  ];
  const lastOnes = [slice([endpoint('10.0.0.2', { node: 'there' }), endpoint('10.0.0.3', ending)])];
  const external = { type: 'LoadBalancer', externalIPs: ['192.0.2.1'] };
  const rows: readonly (readonly [
    what: string,
    spec: object,
    inside: string,
    outside: string,
    source: string,
    last: string,
  ])[] = [
    [
      'both Cluster',
      external,
      '10.0.0.1 | 10.0.0.2 | 10.0.0.3:0',
      '10.0.0.1 | 10.0.0.2 | 10.0.0.3:0',
      'masquerade',
      '10.0.0.2 | 10.0.0.3:0',
    ],
    [
      'external Local',
      { ...external, externalTrafficPolicy: 'Local' },
      '10.0.0.1 | 10.0.0.2 | 10.0.0.3:0',
      '10.0.0.1 | 10.0.0.2 0:tcp-80 inside:tcp-80 | 10.0.0.3:0',
      'keep',
      '10.0.0.2 0:tcp-80 inside:tcp-80 | 10.0.0.3 inside:',
    ],
    [
      'internal Local',
      { ...external, internalTrafficPolicy: 'Local' },
      '10.0.0.1 | 10.0.0.3:0',
      '10.0.0.1 | 10.0.0.2 | 10.0.0.3:0',
      'masquerade',
      '10.0.0.2 | 10.0.0.3:0',
    ],
  ];
  for (const [what, spec, expectedInside, expectedOutside, source, last] of rows) {
    const translation = translated({ spec }, slices);
    assert.equal(reported(inside(translation)), expectedInside, what);
    assert.equal(reported(outside(translation)), expectedOutside, what);
    assert.deepEqual(
      [inside(translation).sourceAddress, outside(translation).sourceAddress],
      ['keep', source],
      what,
    );
    assert.equal(reported(outside(translated({ spec }, lastOnes))), last, `${what}, without other endpoints`);
  }
  assert.deepEqual([...localReady(fourOnly, slicesOf(slices), 'here')], [[4, 1]]);
  assert.deepEqual([...localReady(fourOnly, slicesOf(lastOnes), 'here')], [[4, 0]]);
});

test('health checks of load balancers do not count pods that lack the named target port', () => {
  const local = [endpoint('10.0.0.2', { node: 'here' })];
  const counted = (...all: readonly object[]): unknown => [...localReady(fourOnly, slicesOf(all), 'here')];
  assert.deepEqual(counted(slice(local, { ports: [] })), [[4, 0]]);
  assert.deepEqual(counted(slice(local, { ports: [] }), slice(local)), [[4, 1]]);
});

test('connections from inside the node get any endpoint of a service with an external Local policy', () => {
  const place: Place = { nodeName: 'here', zone: 'a', podRanges: ['10.9.0.0/24', 'fd09::/64'] };
  const spec = {
    type: 'LoadBalancer',
    externalIPs: ['192.0.2.1'],
    externalTrafficPolicy: 'Local',
    ports: [
      { name: 'http', port: 80, targetPort: 8080, protocol: 'TCP' },
      { name: 'admin', port: 81, targetPort: 8081, protocol: 'TCP' },
    ],
  };
  const both = {
    ports: [
      { name: 'http', port: 8080 },
      { name: 'admin', port: 8081 },
    ],
  };
  const one = {
    ports: [{ name: 'http', port: 8080 }],
    metadata: { namespace: 'shop', name: 'web-2', labels: { 'kubernetes.io/service-name': 'web' } },
  };
  const zone = (name: string): object => ({ forZones: [{ name }] });
  const rows: readonly (readonly [
    what: string,
    slices: readonly object[],
    backends: string,
    elsewhere: string,
  ])[] = [
    [
      'only http has an endpoint here',
      [
        slice([endpoint('10.0.0.2', { node: 'there' })], both),
        slice([endpoint('10.0.0.1', { node: 'here' })], one),
      ],
      '10.0.0.1 -admin | 10.0.0.2 0:http,admin inside:http,admin',
      'admin 4',
    ],
    [
      'a hint leads pods of this node away from its endpoint',
      [
        slice(
          [
            endpoint('10.0.0.1', { node: 'here', hints: zone('b') }),
            endpoint('10.0.0.2', { node: 'there', hints: zone('a') }),
          ],
          both,
        ),
      ],
      '10.0.0.1 inside: | 10.0.0.2 0:http,admin inside:http,admin',
      '',
    ],
    ['no endpoint', [slice([], both)], '', ''],
    [
      'an endpoint that is not ready elsewhere',
      [slice([endpoint('10.0.0.2', { node: 'there', ready: false, serving: false })], both)],
      '10.0.0.2:0',
      '',
    ],
    ['all endpoints here', [slice([endpoint('10.0.0.1', { node: 'here' })], both)], '10.0.0.1', ''],
  ];
  for (const [what, slices, expected, elsewhere] of rows) {
    const found = outside(translated({ spec }, slices, place));
    assert.equal(reported(found), expected, what);
    assert.deepEqual(found.insideSources, place.podRanges);
    const said = found.ports.flatMap((port) =>
      port.elsewhere ? [`${port.name} ${port.elsewhere.join()}`] : [],
    );
    assert.equal(said.join(' | '), elsewhere, what);
  }
  const cluster = translated({ spec: { ...spec, externalTrafficPolicy: 'Cluster' } }, rows[0]![1], place);
  assert.equal(outside(cluster).insideSources, undefined);
  assert.deepEqual(
    outside(cluster).ports.map(({ elsewhere }) => elsewhere),
    [undefined, undefined],
  );
});

test('addresses of each kind are served: both families, external addresses, load balancer addresses, node ports', () => {
  const spec = {
    type: 'LoadBalancer',
    clusterIPs: bothFamilies,
    externalIPs: ['192.0.2.1', '192.0.2.7'],
    ports: [
      { name: 'http', port: 80, targetPort: 'web', nodePort: 30080 },
      { name: 'dns', port: 53, protocol: 'UDP' },
    ],
  };
  const status = {
    loadBalancer: {
      ingress: [
        { ip: '192.0.2.7' },
        { ip: '192.0.2.8' },
        { ip: '192.0.2.9', ipMode: 'Proxy' },
        { hostname: 'lb.example.com' },
      ],
    },
  };
  const six = slice([endpoint('fd00::1')], { addressType: 'IPv6', ports: [{ name: 'http', port: 8081 }] });
  const four = slice([endpoint('10.0.0.1')], {
    ports: [
      { name: 'http', port: 8080 },
      { name: 'dns', port: 53, protocol: 'UDP' },
    ],
  });
  const names = slice([{ addresses: ['www.example.com'] }], { addressType: 'FQDN' });
  const translation = translated({ spec, status }, [six, four, names]);
  const ports = [
    { name: 'http', protocol: 'tcp', port: 80, targetPort: 8080 },
    { name: 'dns', protocol: 'udp', port: 53, targetPort: 53 },
  ];
  assert.deepEqual(inside(translation).addresses, ['10.96.0.1', 'fd00:10:96::1']);
  assert.deepEqual(inside(translation).ports, ports);
  assert.equal(reported(inside(translation)), '10.0.0.1 | fd00::1 {"http":8081} -dns');
  assert.deepEqual(outside(translation).externalAddresses, ['192.0.2.1']);
  assert.deepEqual(outside(translation).loadBalancerAddresses, ['192.0.2.7', '192.0.2.8']);
  assert.deepEqual(outside(translation).ports, [{ ...ports[0], nodePort: 30080 }, ports[1]]);
  assert.deepEqual(outside(translation).addresses, []);
});

test('node ports are served in the families of the cluster addresses, also without endpoints', () => {
  const served = (clusterIPs: readonly string[], ...endpoints: readonly object[]): readonly string[] => {
    const spec = { type: 'NodePort', clusterIPs, ports: [{ port: 80, targetPort: 8080, nodePort: 30080 }] };
    const servers = expand(outside(translated({ spec }, [slice(endpoints)])), () => standing);
    return servers.map(({ family, destinations }) => `${family}: ${destinations.length}`);
  };
  const standing = { drained: false, unhealthy: false };
  assert.deepEqual(served(bothFamilies, endpoint('10.0.0.1')), ['4: 1', '6: 0']);
  assert.deepEqual(served(fourOnly.clusterIPs, endpoint('10.0.0.1')), ['4: 1']);
  assert.deepEqual(served(fourOnly.clusterIPs), ['4: 0']);
});

test('a service is served only in the families of its cluster addresses', () => {
  const slices = [slice([endpoint('10.0.0.1')]), slice([endpoint('fd00::1')], { addressType: 'IPv6' })];
  const written = (clusterIPs: readonly string[]): Written => ({
    spec: {
      type: 'LoadBalancer',
      clusterIP: clusterIPs[0],
      clusterIPs,
      externalIPs: ['192.0.2.1', '2001:db8::1'],
    },
    status: { loadBalancer: { ingress: [{ ip: '192.0.2.8' }, { ip: '2001:db8::8' }] } },
  });
  for (const [clusterIP, external, balanced, backend, notServed] of [
    ['10.96.0.1', '192.0.2.1', '192.0.2.8', '10.0.0.1', /2001:db8::1 is not served: .* no IPv6/u],
    ['fd00:10:96::1', '2001:db8::1', '2001:db8::8', 'fd00::1', /192\.0\.2\.8 is not served: .* no IPv4/u],
  ] as const) {
    const translation = translated(written([clusterIP]), slices);
    assert.deepEqual(outside(translation).externalAddresses, [external]);
    assert.deepEqual(outside(translation).loadBalancerAddresses, [balanced]);
    assert.equal(reported(outside(translation)), backend);
    assert.match(translation.notes.join('; '), notServed);
  }
  const translation = translated(written(bothFamilies), slices);
  assert.deepEqual(outside(translation).loadBalancerAddresses, ['192.0.2.8', '2001:db8::8']);
  assert.deepEqual(translation.notes, []);
});

test('ready endpoints, hints and the number for load balancers are separate for each family', () => {
  const ending = { ready: false, serving: true, terminating: true, node: 'here' };
  const near = { node: 'here', hints: { forZones: [{ name: 'a' }] } };
  const far = { node: 'there', hints: { forZones: [{ name: 'b' }] } };
  const six = (...endpoints: readonly object[]): object => slice(endpoints, { addressType: 'IPv6' });
  const both = { spec: { clusterIPs: ['10.96.0.1', 'fd96::1'] } };
  assert.equal(
    reported(inside(translated(both, [slice([endpoint('10.0.0.1')]), six(endpoint('fd00::1', ending))]))),
    '10.0.0.1 | fd00::1',
    'the only IPv6 endpoint is terminating: it still gets connections',
  );
  const zoned = { ...place, zone: 'a' };
  assert.equal(
    reported(
      inside(
        translated(
          both,
          [
            slice([endpoint('10.0.0.1', near), endpoint('10.0.0.2', far)]),
            six(endpoint('fd00::1'), endpoint('fd00::2')),
          ],
          zoned,
        ),
      ),
    ),
    '10.0.0.1 | fd00::1 | fd00::2',
    'IPv6 has no hints: those of IPv4 are followed',
  );
  const pods = [slice([endpoint('10.0.0.1', { node: 'here' })]), six(endpoint('fd00::1', { node: 'here' }))];
  const counted = (clusterIPs: readonly string[], ...objects: readonly object[]): unknown => [
    ...localReady({ clusterIPs }, slicesOf(objects), 'here'),
  ];
  assert.deepEqual(
    [counted(bothFamilies, ...pods, ...pods), counted(bothFamilies, ...pods.slice(1))],
    [
      [
        [4, 1],
        [6, 1],
      ],
      [
        [4, 0],
        [6, 1],
      ],
    ],
  );
  assert.deepEqual(counted(fourOnly.clusterIPs, ...pods.slice(1)), [[4, 0]], 'IPv6 is not served');
});

test('source ranges restrict addresses of a load balancer, each family separately', () => {
  const both = [{ ip: '192.0.2.8' }, { ip: '2001:db8::8' }, { ip: '192.0.2.9', ipMode: 'Proxy' }];
  const rows: readonly (readonly [
    what: string,
    ranges: readonly string[],
    expected: readonly string[] | undefined,
    notes: RegExp,
  ])[] = [
    ['none', [], undefined, /^$/u],
    ['both families', ['203.0.113.0/24', '2001:db8:1::/48'], ['203.0.113.0/24', '2001:db8:1::/48'], /^$/u],
    ['spaces around it', [' 203.0.113.0/24 ', '::/0'], ['203.0.113.0/24', '::/0'], /^$/u],
    [
      'a range of one family: the other family is open',
      ['203.0.113.0/24'],
      ['203.0.113.0/24'],
      /no IPv6 range.*open to every client/u,
    ],
    [
      'no valid range: no client',
      ['here'],
      ['0.0.0.0/32', '::/128'],
      /"here": not a prefix, so it matches no client/u,
    ],
    [
      'one valid range',
      ['10.0.0.0/8', '1.2.3.4/33'],
      ['10.0.0.0/8', '::/128'],
      /"1\.2\.3\.4\/33": not a prefix/u,
    ],
  ];
  for (const [what, loadBalancerSourceRanges, expected, notes] of rows) {
    const translation = translated(
      {
        spec: { clusterIPs: bothFamilies, externalIPs: ['192.0.2.1', '192.0.2.8'], loadBalancerSourceRanges },
        status: { loadBalancer: { ingress: both } },
      },
      [],
    );
    assert.deepEqual(outside(translation).externalAddresses, ['192.0.2.1'], what);
    assert.deepEqual(outside(translation).loadBalancerAddresses, ['192.0.2.8', '2001:db8::8'], what);
    assert.deepEqual(outside(translation).loadBalancerSourceRanges, expected, what);
    assert.match(translation.notes.join('; '), notes, what);
  }
  const without = translated(
    { spec: { externalIPs: ['192.0.2.1'], loadBalancerSourceRanges: ['10.0.0.0/8'] } },
    [],
  );
  assert.deepEqual(
    [outside(without).loadBalancerSourceRanges, without.notes],
    [undefined, []],
    'without a load balancer, nothing is restricted',
  );
});

test('IPv4 numbers that begin with zeros are decimal, as the API and kube-proxy read them', () => {
  const translation = translated(
    {
      spec: {
        clusterIPs: ['010.96.0.1'],
        externalIPs: ['192.0.2.001'],
        loadBalancerSourceRanges: ['010.0.0.0/8'],
      },
      status: { loadBalancer: { ingress: [{ ip: '192.000.2.08' }] } },
    },
    [slice([endpoint('010.0.0.010')])],
  );
  const { externalAddresses, loadBalancerAddresses, loadBalancerSourceRanges } = outside(translation);
  assert.deepEqual(translation.services[0]?.addresses, ['10.96.0.1']);
  assert.deepEqual(
    [externalAddresses, loadBalancerAddresses, loadBalancerSourceRanges],
    [['192.0.2.1'], ['192.0.2.8'], ['10.0.0.0/8']],
  );
  assert.deepEqual(
    translation.services.flatMap(({ backends }) => backends.map(({ address }) => address)),
    ['10.0.0.10', '10.0.0.10'],
  );
  assert.deepEqual(translation.notes, []);
});

test('each port is separate: the readiness of one port does not affect another', () => {
  const ending = { ready: false, serving: true, terminating: true };
  const unready = { ready: false, serving: false };
  const spec = {
    ports: [
      { name: 'a', port: 80, targetPort: 8080 },
      { name: 'b', port: 81, targetPort: 8081 },
    ],
  };
  const at = (ports: Readonly<Record<string, number>>, ...endpoints: readonly object[]): object =>
    slice(endpoints, { ports: Object.entries(ports).map(([name, port]) => ({ name, port })) });
  const [onlyA, onlyB, a8080b8081] = [{ a: 8080 }, { b: 8081 }, { a: 8080, b: 8081 }];
  const rows: readonly (readonly [what: string, slices: readonly object[], expected: string])[] = [
    [
      'b has no ready endpoint, and falls back to terminating endpoints',
      [at(onlyA, endpoint('10.0.0.1')), at(a8080b8081, endpoint('10.0.0.2', ending))],
      '10.0.0.1 -b | 10.0.0.2 0:a',
    ],
    [
      'a and b each have another ready endpoint',
      [
        at(onlyA, endpoint('10.0.0.1')),
        at(onlyB, endpoint('10.0.0.2')),
        at(a8080b8081, endpoint('10.0.0.3', ending)),
      ],
      '10.0.0.1 -b | 10.0.0.2 -a | 10.0.0.3:0',
    ],
    [
      'b has only an endpoint that is not ready',
      [at(onlyA, endpoint('10.0.0.1')), at(onlyB, endpoint('10.0.0.2', unready))],
      '10.0.0.1 -b | 10.0.0.2:0 -a',
    ],
    [
      'one endpoint, its ports in two slices',
      [at(onlyA, endpoint('10.0.0.1')), at(onlyB, endpoint('10.0.0.1'))],
      '10.0.0.1',
    ],
    [
      'it moves between slices, and is in both',
      [at(onlyA, endpoint('10.0.0.1')), at(a8080b8081, endpoint('10.0.0.1'))],
      '10.0.0.1',
    ],
    [
      'it moves between slices, and is no longer ready in one',
      [at(a8080b8081, endpoint('10.0.0.1', ending)), at(onlyA, endpoint('10.0.0.1'))],
      '10.0.0.1',
    ],
    [
      'one port with two numbers',
      [at({ a: 9000 }, endpoint('10.0.0.1', ending)), at(a8080b8081, endpoint('10.0.0.1'))],
      '10.0.0.1 | 10.0.0.1:0 {"a":9000} -b',
    ],
    [
      'a port with the same name and another protocol is a different port',
      [slice([endpoint('10.0.0.1')], { ports: [{ name: 'a', port: 8080, protocol: 'UDP' }] })],
      '',
    ],
  ];
  for (const [what, slices, expected] of rows)
    assert.equal(reported(inside(translated({ spec }, slices))), expected, what);
  const hints = (zone: string): WrittenEndpoint => ({ hints: { forZones: [{ name: zone }] } });
  const zoned = [
    at(onlyA, endpoint('10.0.0.1', hints('east')), endpoint('10.0.0.2', hints('west'))),
    at(onlyB, endpoint('10.0.0.1'), endpoint('10.0.0.2')),
  ];
  assert.equal(
    reported(inside(translated({ spec }, zoned, { nodeName: 'here', zone: 'east' }))),
    '10.0.0.1 | 10.0.0.2 -a',
    'hints also apply to each port separately',
  );
  const local = { spec: { ...spec, internalTrafficPolicy: 'Local' } };
  const nodes = [
    at(onlyA, endpoint('10.0.0.1', { node: 'here' }), endpoint('10.0.0.2', { node: 'there' })),
    at(onlyB, endpoint('10.0.0.1', { node: 'here', ...ending }), endpoint('10.0.0.2', { node: 'there' })),
  ];
  assert.equal(
    reported(inside(translated(local, nodes))),
    '10.0.0.1',
    'Local: b falls back, whatever endpoints another node has',
  );
  const mixed = [
    slice([endpoint('10.0.0.1'), endpoint('10.0.0.2', unready)], {
      ports: [
        { name: 't', port: 53 },
        { name: 'u', port: 53, protocol: 'UDP' },
      ],
    }),
  ];
  const dns = {
    spec: {
      ports: [
        { name: 't', port: 53 },
        { name: 'u', port: 53, protocol: 'UDP' },
      ],
    },
  };
  assert.equal(
    reported(inside(translated(dns, mixed))),
    '10.0.0.1 | 10.0.0.2:0 -u',
    'an endpoint that is not ready keeps its TCP connections',
  );
});

test('affinity and annotations', () => {
  const affine = (sessionAffinityConfig?: object): Service =>
    inside(translated({ spec: { sessionAffinity: 'ClientIP', sessionAffinityConfig } }, []));
  assert.equal(affine().persistenceSeconds, 10_800);
  assert.equal(affine({ clientIP: { timeoutSeconds: 90 } }).persistenceSeconds, 90);
  assert.equal(inside(translated({ spec: { sessionAffinity: 'None' } }, [])).persistenceSeconds, undefined);
  const annotated = (annotations: object): Translation => translated({ annotations }, []);
  const maglev = annotated({
    'portcullis.dev/scheduler': 'maglev',
    'portcullis.dev/drain-grace-seconds': '0',
    other: 'x',
  });
  assert.deepEqual(
    [inside(maglev).scheduler, inside(maglev).drainGraceSeconds, maglev.notes],
    ['maglev', 0, []],
  );
  const wrong = annotated({
    'portcullis.dev/scheduler': 'magic',
    'portcullis.dev/drain-grace-seconds': '-1',
  });
  assert.deepEqual([inside(wrong).scheduler, inside(wrong).drainGraceSeconds], ['rr', 30]);
  assert.match(wrong.notes.join(), /"magic", which is not one of rr, wrr.*: rr is used.*"-1".*: 30 is used/u);
});

test('hints are followed if all ready endpoints have them and one of them names this node or zone', () => {
  const zone = (name: string): object => ({ forZones: [{ name }] });
  const node = (name: string): object => ({ forNodes: [{ name }], ...zone('west') });
  const where: Place = { nodeName: 'here', zone: 'east' };
  const rows: readonly (readonly [
    what: string,
    endpoints: readonly object[],
    expected: string,
    withoutZone: string,
  ])[] = [
    [
      'a zone',
      [endpoint('10.0.0.1', { hints: zone('east') }), endpoint('10.0.0.2', { hints: zone('west') })],
      '10.0.0.1',
      '10.0.0.1 | 10.0.0.2',
    ],
    ['no endpoint of our zone', [endpoint('10.0.0.2', { hints: zone('west') })], '10.0.0.2', '10.0.0.2'],
    [
      'one endpoint has no hint',
      [endpoint('10.0.0.1', { hints: zone('east') }), endpoint('10.0.0.2')],
      '10.0.0.1 | 10.0.0.2',
      '10.0.0.1 | 10.0.0.2',
    ],
    [
      'a node',
      [endpoint('10.0.0.1', { hints: node('here') }), endpoint('10.0.0.2', { hints: node('there') })],
      '10.0.0.1',
      '10.0.0.1',
    ],
    [
      'no endpoint of our node',
      [
        endpoint('10.0.0.2', { hints: node('there') }),
        endpoint('10.0.0.3', { hints: { ...node('over'), ...zone('east') } }),
      ],
      '10.0.0.3',
      '10.0.0.2 | 10.0.0.3',
    ],
    [
      'the endpoint without a hint is not ready',
      [
        endpoint('10.0.0.1', { hints: zone('east') }),
        endpoint('10.0.0.2', { hints: zone('west') }),
        endpoint('10.0.0.3', { ready: false }),
      ],
      '10.0.0.1 | 10.0.0.3:0',
      '10.0.0.1 | 10.0.0.2 | 10.0.0.3:0',
    ],
  ];
  for (const [what, endpoints, expected, withoutZone] of rows) {
    assert.equal(reported(inside(translated({}, [slice(endpoints)], where))), expected, what);
    assert.equal(
      reported(inside(translated({}, [slice(endpoints)]))),
      withoutZone,
      `${what}, without a zone`,
    );
  }
});

test('services that kube-proxy ignores are left out', () => {
  for (const spec of [
    { clusterIP: 'None', clusterIPs: ['None'] },
    { clusterIP: '', clusterIPs: [] },
    { type: 'ExternalName' },
    { ports: [] },
  ])
    assert.equal(readService(service({ spec })), undefined, JSON.stringify(spec));
  assert.equal(readSlice({ ...slice([]), metadata: { namespace: 'shop', name: 'x' } }), undefined);
});

test('the reader accepts any object, and the order does not matter', () => {
  fc.assert(
    fc.property(fc.anything(), fc.anything(), (spec, odd) => {
      for (const object of [
        odd,
        { metadata: odd, spec },
        service({ spec: { ports: odd, ...(typeof spec === 'object' ? spec : {}) } }),
        service({ spec: { clusterIPs: odd } }),
      ]) {
        const read = readService(object);
        if (read !== undefined)
          translate(
            read,
            slicesOf([slice([]), { ...slice([]), endpoints: odd }, { ...slice([]), ports: odd }]),
            place,
          );
      }
    }),
  );
  const anyEndpoint = fc
    .record({
      last: fc.integer({ min: 1, max: 9 }),
      ready: fc.boolean(),
      serving: fc.boolean(),
      terminating: fc.boolean(),
      node: fc.constantFrom('here', 'there'),
    })
    .map(({ last, ...conditions }) => endpoint(`10.0.0.${last}`, conditions));
  const unique = fc.uniqueArray(anyEndpoint, {
    maxLength: 9,
    selector: (one) => (one as { addresses: string[] }).addresses[0],
  });
  fc.assert(
    fc.property(unique, fc.boolean(), (endpoints, local) => {
      const written = {
        spec: { externalIPs: ['192.0.2.1'], externalTrafficPolicy: local ? 'Local' : 'Cluster' },
      };
      const one = translated(written, [slice(endpoints)]);
      const half = Math.floor(endpoints.length / 2);
      const other = translated(written, [
        slice(endpoints.slice(half).reverse()),
        slice(endpoints.slice(0, half)),
      ]);
      assert.deepEqual(other, one);
      // Every ready endpoint counts; an endpoint that is neither ready nor serving does not.
      const weightOf = new Map(inside(one).backends.map(({ address, weight }) => [address, weight ?? 1]));
      for (const { addresses, conditions } of endpoints as {
        addresses: string[];
        conditions: WrittenEndpoint;
      }[]) {
        if (conditions.ready === true) assert.equal(weightOf.get(addresses[0]!), 1);
        else if (conditions.serving !== true) assert.notEqual(weightOf.get(addresses[0]!), 1);
      }
    }),
  );
});

test('external addresses are served if the node allows them; an address that cannot be served does not affect the others', () => {
  const spec = {
    externalIPs: ['192.0.2.1', '198.51.100.1', '127.0.0.1', '203.0.113.7'],
    type: 'LoadBalancer',
  };
  const object = {
    metadata: { namespace: 'shop', name: 'web', creationTimestamp: '2026-01-02T03:04:05Z' },
    spec: { clusterIP: '10.96.0.1', ports: [{ port: 80 }], ...spec },
    status: { loadBalancer: { ingress: [{ ip: '203.0.113.7' }, { ip: '203.0.113.8' }] } },
  };
  const read = readService(object);
  assert.ok(read);
  const of = (place: object): { services: readonly Service[]; notes: readonly string[] } =>
    translate(read, [], { nodeName: 'here', ...place });
  const open = of({});
  assert.deepEqual(open.services[1]?.externalAddresses, ['192.0.2.1', '198.51.100.1']);
  assert.deepEqual(
    open.services.map(({ createdAt }) => createdAt),
    Array(2).fill(Date.UTC(2026, 0, 2, 3, 4, 5)),
  );
  assert.match(open.notes.join(), /127\.0\.0\.1 is not served/u);
  const some = of({ externalRanges: ['192.0.2.0/24'], reserved: ['203.0.113.7'] });
  assert.deepEqual(
    [some.services[1]?.externalAddresses, some.services[1]?.loadBalancerAddresses],
    [['192.0.2.1'], ['203.0.113.8']],
  );
  assert.match(
    some.notes.join(),
    /198\.51\.100\.1 is not served: network\.services\.kubernetes\.externalIPs[^]*203\.0\.113\.7 is not served: it is the address of the API server|API server[^]*198\.51\.100\.1/u,
  );
  assert.deepEqual(of({ externalRanges: [] }).services[1]?.externalAddresses, []);
});

/**
 * Long lists that the author of one Service may write: the API accepts an object of 1.5 MiB, and limits
 * neither ports nor addresses.
 */
const manyPorts = (count: number): object[] =>
  Array.from({ length: count }, (_, index) => ({ name: `p${index}`, port: index + 1, protocol: 'TCP' }));
const manyAddresses = (count: number): string[] =>
  Array.from(
    { length: count },
    (_, index) => `203.${(index >> 16) + 1}.${(index >> 8) & 255}.${index & 255}`,
  );
const serversOf = ({ addresses, externalAddresses, loadBalancerAddresses = [], ports }: Service): number =>
  ports.length * (addresses.length + externalAddresses.length + loadBalancerAddresses.length) +
  2 * ports.filter(({ nodePort }) => nodePort !== undefined).length;

test('node ports are served at 64 addresses of the node, or as many as fit, and the other addresses are noted', () => {
  const where = { ...place, nodePortAddresses: manyAddresses(100) };
  const served = (count: number): readonly [number | undefined, string] => {
    const ports = manyPorts(count).map((port, index) => ({ ...port, nodePort: 30_000 + index }));
    const { services, notes } = translated(
      { spec: { type: 'NodePort', ports } },
      [slice([endpoint('10.0.0.1')])],
      where,
    );
    const outside = services.find(({ ports: [port] }) => port?.nodePort !== undefined);
    return [outside?.nodeAddresses?.length, notes.join()];
  };
  const [ofOne, note] = served(1);
  assert.equal(ofOne, 64);
  assert.match(note, /nodePortAddresses: node ports are served at 64 of 100 addresses/u);
  assert.equal(served(200)[0], 10);
});

test('a service has no more addresses and ports than a node can create, and notes those that are not served', () => {
  const clusterIPs = ['10.96.0.1', 'fd00::1'];
  const cases: readonly (readonly [what: string, written: Written, ports: number, notes: RegExp])[] = [
    [
      'ports',
      { spec: { clusterIPs, ports: manyPorts(50_000) } },
      mostServers / 2,
      /spec\.ports: 2048 of 50000/u,
    ],
    ['addresses', { spec: { externalIPs: manyAddresses(50_000) } }, 1, /externalIPs: 4094 of 50000/u],
    [
      'both',
      { spec: { clusterIPs, ports: manyPorts(30_000), externalIPs: manyAddresses(30_000) } },
      mostServers / 2,
      /externalIPs: 0 of 30000/u,
    ],
    [
      'a load balancer',
      {
        spec: { ports: manyPorts(100), externalIPs: manyAddresses(90) },
        status: { loadBalancer: { ingress: manyAddresses(100).map((ip) => ({ ip })) } },
      },
      100,
      /status\.loadBalancer: 38 of 100/u,
    ],
  ];
  for (const [what, written, ports, note] of cases) {
    const { services, notes } = translated(written, [slice([endpoint('10.0.0.1')])]);
    assert.equal(inside({ services, notes }).ports.length, ports, what);
    for (const each of services)
      assert.ok(serversOf(each) <= mostServers, `${what}: ${each.name} has ${serversOf(each)}`);
    assert.ok(
      notes.some((text) => note.test(text)),
      `${what}: ${notes.join('; ')}`,
    );
  }
});

test('the notes about addresses that are not served are short', () => {
  const { notes } = translated(
    {
      spec: { externalIPs: Array.from({ length: 5000 }, (_, index) => `127.0.${index >> 8}.${index & 255}`) },
    },
    [],
  );
  assert.ok(notes.length < 40, String(notes.length));
  assert.match(notes.at(-1) ?? '', /^\d+ more notes$/u);
});

test('if there are more source ranges than a node supports for each port, some are in force, and no other client is allowed', () => {
  const status = { loadBalancer: { ingress: [{ ip: '203.0.113.9' }] } };
  const { services, notes } = translated(
    {
      spec: {
        ports: manyPorts(1000),
        loadBalancerSourceRanges: manyAddresses(50_000).map((address) => `${address}/32`),
      },
      status,
    },
    [slice([endpoint('10.0.0.1')])],
  );
  const ranges = outside({ services, notes }).loadBalancerSourceRanges ?? [];
  assert.equal(ranges.filter((text) => !text.startsWith('::')).length, 65);
  assert.ok(notes.some((text) => /65 of 50000/u.test(text)));
});

const endpointsOf = (count: number, more: WrittenEndpoint = {}): object[] =>
  Array.from({ length: count }, (_, index) =>
    endpoint(`10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`, more),
  );

test('for a service with many ports, a node examines as many endpoints as it has time for, its own first', () => {
  const ports = manyPorts(4096);
  const own = endpoint('10.255.0.1', { node: 'here' });
  const { services, notes } = translated({ spec: { ports } }, [
    slice([...endpointsOf(2000), own], { ports }),
  ]);
  const { backends } = inside({ services, notes });
  assert.equal(backends.length, 64);
  assert.ok(backends.some(({ address }) => address === '10.255.0.1'));
  assert.ok(notes.some((text) => /64 of 2001 endpoints/u.test(text)));
  // Endpoints that serve come before those that do not.
  const ending = slice(endpointsOf(3000, { ready: false, serving: false, terminating: true }), {
    ports,
    metadata: { namespace: 'shop', name: 'web-2', labels: { 'kubernetes.io/service-name': 'web' } },
  });
  const mixed = inside(translated({ spec: { ports } }, [ending, slice([endpoint('10.254.0.1')], { ports })]));
  assert.ok(mixed.backends.some(({ address }) => address === '10.254.0.1'));
  // With few ports: as many endpoints as a service may have.
  const few = translated({}, [slice(endpointsOf(2000))]);
  assert.equal(inside(few).backends.length, 1024);
  assert.deepEqual(
    few.notes.filter((text) => text.includes('examined')),
    [],
  );
});

test('a service costs in proportion to its ports and to its endpoints', async () => {
  const cases: Readonly<
    Record<string, readonly [n: number, make: (n: number) => readonly [KubernetesService, EndpointSlice[]]]>
  > = {
    ports: [
      1000,
      (n) => [
        readService(service({ spec: { ports: manyPorts(n) } }))!,
        slicesOf([slice(endpointsOf(20), { ports: manyPorts(n) })]),
      ],
    ],
    endpoints: [2000, (n) => [readService(service({}))!, slicesOf([slice(endpointsOf(n))])]],
    'port numbers of one address': [
      1500,
      (n) => [
        readService(service({}))!,
        slicesOf(
          Array.from({ length: n }, (_, index) =>
            slice([endpoint('10.0.0.1')], { ports: [{ port: index + 1, protocol: 'TCP' }] }),
          ),
        ),
      ],
    ],
  };
  for (const [what, [n, make]] of Object.entries(cases))
    await assertNearLinearWork(
      what,
      (size) => {
        const [read, slices] = make(size);
        return () => translate(read, slices, place);
      },
      { n },
    );
});

test('an endpoint that serves two ports of one name is a backend for each of them', () => {
  const ports = [80, 81].map((port) => ({ name: 'web', port, targetPort: 8080, protocol: 'TCP' }));
  const { services } = translated({ spec: { ports } }, [
    slice([endpoint('10.0.0.1')], { ports: [{ name: 'web', port: 8080, protocol: 'TCP' }] }),
  ]);
  assert.equal(services[0]?.backends.length, 2);
});
