import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Service } from '../model/model.ts';
import { checked } from './checked.ts';
import { claimsOf } from './claims.ts';
import { settle } from './drains.ts';
import { expand, placesOf } from './expand.ts';
import { checkedPortOf, healthIdOf } from './health/checks.ts';

const service = (more: Partial<Service> = {}): Service => ({
  name: 'shop/web',
  addresses: [],
  externalAddresses: [],
  ports: [
    { name: 'a', protocol: 'tcp', port: 80, targetPort: 8080, nodePort: 30_080 },
    { name: 'b', protocol: 'udp', port: 53, targetPort: 53 },
  ],
  scheduler: 'rr',
  clientAffinity: false,
  forwarding: 'nat',
  sourceAddress: 'keep',
  drainGraceSeconds: 30,
  backends: [{ address: '10.0.0.2' }, { address: 'fd00::2' }],
  ...more,
});
const alive = (): { drained: boolean; unhealthy: boolean } => ({ drained: false, unhealthy: false });

test('source ranges apply to load balancer addresses only, each family separately', () => {
  const rangesOf = (more: Partial<Service>): string[] =>
    expand(service({ addresses: ['10.96.0.1'], externalAddresses: ['192.0.2.1'], ...more }), alive)
      .filter(({ portName }) => portName === 'a')
      .map(
        ({ kind, family, address = '*', sourceRanges }) =>
          `${kind} ${family} ${address} ${sourceRanges?.join() ?? 'everybody'}`,
      );
  const loadBalancerAddresses = ['192.0.2.8', '2001:db8::8'];
  const others = ['virtual 4 10.96.0.1 everybody', 'external 4 192.0.2.1 everybody'];
  assert.deepEqual(
    rangesOf({ loadBalancerAddresses, loadBalancerSourceRanges: ['10.0.0.0/8', 'fd00::/8'] }),
    [...others, 'external 4 192.0.2.8 10.0.0.0/8', 'external 6 2001:db8::8 fd00::/8', 'node 4 * everybody'],
  );
  assert.deepEqual(
    rangesOf({ loadBalancerAddresses, loadBalancerSourceRanges: ['10.0.0.0/8'] })[3],
    'external 6 2001:db8::8 everybody',
  );
  assert.deepEqual(
    rangesOf({ loadBalancerAddresses, loadBalancerSourceRanges: ['10.0.0.0/8', '0.0.0.0/0'] })[2],
    'external 4 192.0.2.8 everybody',
  );
});

test('a backend may take new connections at one port and not at another', () => {
  const backends = [
    { address: '10.0.0.2', quiescentPorts: ['b'] },
    { address: '10.0.0.3', without: ['a'] },
  ];
  const weights = expand(service({ addresses: ['10.96.0.1'], backends }), alive)
    .filter(({ kind }) => kind === 'virtual')
    .map(
      ({ portName, destinations }) =>
        `${portName}: ${destinations.map(({ address, weight }) => `${address}=${weight}`).join(' ')}`,
    );
  assert.deepEqual(weights, ['a: 10.0.0.2=1', 'b: 10.0.0.2=0 10.0.0.3=1']);
});

test('connections from inside the node have weights of their own, which a drain keeps', () => {
  const described = service({
    loadBalancerAddresses: ['192.0.2.8'],
    insideSources: ['10.9.0.0/24', 'fd09::/64'],
    ports: [
      { name: 'a', protocol: 'tcp', port: 80, targetPort: 8080, elsewhere: [4] },
      { name: 'b', protocol: 'tcp', port: 81, targetPort: 8081 },
    ],
    backends: [
      { address: '10.0.0.2', quiescentPorts: ['a', 'b'], insidePorts: ['a', 'b'] },
      { address: '10.0.0.3', quiescentPorts: ['a'], insidePorts: [] },
      { address: '10.0.0.4', quiescentPorts: ['a'] },
      { address: '10.0.0.5', draining: true, insidePorts: ['a'] },
    ],
  });
  const servers = expand(described, alive);
  const said = servers.map(
    ({ portName, insideSources, drops, destinations }) =>
      `${portName} ${insideSources?.join()} ${drops === true ? 'drops' : 'refuses'} ${destinations
        .map(({ address, weight, insideWeight }) => `${address}=${weight}/${insideWeight ?? '-'}`)
        .join(' ')}`,
  );
  assert.deepEqual(said, [
    'a 10.9.0.0/24 drops 10.0.0.2=0/1 10.0.0.3=0/- 10.0.0.4=0/- 10.0.0.5=0/-',
    'b 10.9.0.0/24 refuses 10.0.0.2=0/1 10.0.0.3=1/0 10.0.0.4=1/- 10.0.0.5=0/-',
  ]);
  const before = settle(undefined, servers[0], 0, 30);
  assert.equal(before?.server.destinations[0]?.insideWeight, 1);
  const gone = settle(before, { ...servers[0]!, destinations: [] }, 0, 30);
  assert.deepEqual(gone?.server.destinations[0], { address: '10.0.0.2', port: 8080, weight: 0 });
  const { insideSources: _, ...open } = described;
  for (const { insideSources, destinations } of expand(open, alive)) {
    assert.equal(insideSources, undefined);
    assert.ok(destinations.every(({ insideWeight }) => insideWeight === undefined));
  }
});

test('a port with the name of a property that every object has is served at its number', () => {
  const ports = [
    { name: 'constructor', protocol: 'tcp', port: 80, targetPort: 8080 },
    { name: 'b', protocol: 'tcp', port: 81, targetPort: 8081 },
  ] as const;
  const healthCheck = {
    kind: 'tcp',
    intervalSeconds: 5,
    timeoutSeconds: 2,
    failures: 1,
    successes: 1,
  } as const;
  const one = service({
    addresses: ['10.96.0.1'],
    ports,
    healthCheck,
    backends: [{ address: '10.0.0.2' }, { address: '10.0.0.3', ports: { b: 9 } }],
  });
  const places = expand(one, alive).map(({ destinations }) =>
    destinations.map(({ address, port }) => `${address} ${port}`),
  );
  assert.deepEqual(places, [
    ['10.0.0.2 8080', '10.0.0.3 8080'],
    ['10.0.0.2 8081', '10.0.0.3 9'],
  ]);
  assert.deepEqual(
    one.backends.map((backend) => healthIdOf(backend, checkedPortOf(one))),
    ['10.0.0.2 8080', '10.0.0.3 8080'],
  );
});

test('a load balancer address is restricted even if it is also in another list; a refusal names its field', () => {
  const good = checked(
    'overlay',
    service({
      addresses: ['192.0.2.8', '10.96.0.1'],
      externalAddresses: ['2001:DB8::8', '10.96.0.1'],
      loadBalancerAddresses: ['192.0.2.8', '2001:db8:0::8'],
      loadBalancerSourceRanges: ['10.1.2.3/8', '10.0.0.0/8'],
    }),
  );
  assert.ok(!('code' in good));
  assert.deepEqual(
    [good.addresses, good.externalAddresses, good.loadBalancerAddresses, good.loadBalancerSourceRanges],
    [['10.96.0.1'], [], ['192.0.2.8', '2001:db8::8'], ['10.0.0.0/8']],
  );
  assert.deepEqual(
    claimsOf(good).find(({ key }) => key === '6 tcp 2001:db8::8 80'),
    { key: '6 tcp 2001:db8::8 80', field: 'loadBalancerAddresses.1' },
  );
  const wrong = (more: Partial<Service>): string => {
    const answer = checked('overlay', service(more));
    return 'code' in answer ? `${answer.field}: ${answer.why}` : 'valid';
  };
  assert.equal(wrong({ loadBalancerAddresses: ['127.0.0.1'] }).split(':')[0], 'loadBalancerAddresses.0');
  assert.equal(
    wrong({ loadBalancerSourceRanges: ['10.0.0.0/8', 'x'] }),
    'loadBalancerSourceRanges.1: "x" is not a prefix',
  );
});

test('node ports are served only at the given addresses of the host, in the families of the service', () => {
  const servers = (addresses: readonly string[], nodeAddresses: readonly string[]): string[] =>
    expand(service({ addresses, nodeAddresses }), alive)
      .filter(({ port }) => port === 30_080)
      .map(({ kind, address }) => `${kind} ${address}`);
  const both = ['192.0.2.9', 'fd00::9'];
  assert.deepEqual(servers(['10.96.0.1', 'fd00:96::1'], both), ['external 192.0.2.9', 'external fd00::9']);
  assert.deepEqual(servers(['10.96.0.1'], both), ['external 192.0.2.9']);
  assert.deepEqual(servers(['10.96.0.1'], []), []);
  const fields = claimsOf(service({ addresses: ['10.96.0.1'], nodeAddresses: ['192.0.2.9'] }));
  assert.equal(fields.find(({ key }) => key === '4 tcp 192.0.2.9 30080')?.field, 'ports');
});

test('a service is served at each of its addresses, and its node ports in each family', () => {
  const all = service({
    addresses: ['10.96.0.1'],
    externalAddresses: ['192.0.2.1'],
    loadBalancerAddresses: ['2001:db8::8'],
  });
  const placesIn = (one: Service): string[] =>
    one.ports.flatMap((port) =>
      placesOf(one, port).map(
        (place) =>
          `${place.kind} ${place.family} ${place.address ?? '*'} ${place.port}/${place.protocol}${place.isBalanced === true ? ' balanced' : ''}`,
      ),
    );
  assert.deepEqual(placesIn(all), [
    'virtual 4 10.96.0.1 80/tcp',
    'external 4 192.0.2.1 80/tcp',
    'external 6 2001:db8::8 80/tcp balanced',
    'node 4 * 30080/tcp',
    'virtual 4 10.96.0.1 53/udp',
    'external 4 192.0.2.1 53/udp',
    'external 6 2001:db8::8 53/udp balanced',
  ]);
  assert.deepEqual(placesIn(service({ nodeAddresses: ['192.0.2.9'] })), ['external 4 192.0.2.9 30080/tcp']);
});

test('a service in canonical form is admitted as it is', () => {
  const own = service({ addresses: ['10.96.0.1', 'fd00::1'] });
  assert.equal(checked('kubernetes', own), own);
});

test('a place that a new server has twice counts once', () => {
  const [server] = expand(
    service({
      addresses: ['10.96.0.1'],
      backends: [{ address: '10.0.0.2' }, { address: '10.0.0.2', weight: 3 }],
    }),
    alive,
  );
  assert.deepEqual(settle(undefined, server, 0)?.server.destinations, [
    { address: '10.0.0.2', port: 8080, weight: 3 },
  ]);
});
