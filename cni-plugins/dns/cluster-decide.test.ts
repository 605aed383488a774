import assert from 'node:assert/strict';
import { test } from 'node:test';
import packet from 'dns-packet';
import { parseIp } from '../../base/addresses/index.ts';
import { createClusterNames } from '../cluster-names/table.ts';
import { decideForCluster } from './cluster-decide.ts';
import { decide } from './decide.ts';
import { encodeReply } from './reply.ts';
import { rcode } from './message-format.ts';
import { readQuery } from './query.ts';
import type { Reply } from './reply.ts';
import type { Query } from './query.ts';

/** The cluster of the table: each service is one that a section of the specification describes. */
const service = (namespace: string, name: string, spec: object): object => ({
  metadata: { namespace, name },
  spec,
});
const slice = (namespace: string, owner: string, rest: object, suffix = 'a'): object => ({
  metadata: { namespace, name: `${owner}-${suffix}`, labels: { 'kubernetes.io/service-name': owner } },
  ...rest,
});
const named = [
  { name: 'https', protocol: 'TCP', port: 443 },
  { protocol: 'TCP', port: 80 },
];
const services = [
  service('default', 'kubernetes', {
    clusterIP: '10.3.0.1',
    clusterIPs: ['10.3.0.1', 'fd00::1'],
    ports: named,
  }),
  service('default', 'headless', {
    clusterIP: 'None',
    ports: [...named, { name: 'dns', protocol: 'UDP', port: 53 }],
  }),
  service('default', 'unready', { clusterIP: 'None', ports: named, publishNotReadyAddresses: true }),
  service('default', 'empty', { clusterIP: 'None', ports: named }),
  service('default', 'foo', { type: 'ExternalName', externalName: 'WWW.Example.com.' }),
  service('default', 'digits', { type: 'ExternalName', externalName: '192.0.2.7' }),
  service('default', 'inner', { type: 'ExternalName', externalName: 'kubernetes.default.svc.cluster.local' }),
  service('default', 'four', { clusterIP: '10.3.0.4', ports: named }),
  service('default', 'inner6', { type: 'ExternalName', externalName: 'four.default.svc.cluster.local' }),
  service('default', 'loop', { type: 'ExternalName', externalName: 'loop.default.svc.cluster.local' }),
  service('default', 'dangling', { type: 'ExternalName', externalName: 'no.default.svc.cluster.local' }),
  service('default', 'pending', { clusterIP: '', ports: named }),
];
const slices = [
  slice('default', 'headless', {
    addressType: 'IPv4',
    ports: [
      { name: 'https', protocol: 'TCP', port: 8443 },
      { name: 'dns', protocol: 'UDP', port: 5353 },
    ],
    endpoints: [
      { addresses: ['10.3.0.100'], hostname: 'my-pet', conditions: { ready: true } },
      { addresses: ['10.3.0.101'] },
      { addresses: ['10.3.0.102'], conditions: { ready: false } },
    ],
  }),
  slice(
    'default',
    'headless',
    {
      addressType: 'IPv6',
      ports: [{ name: 'https', protocol: 'TCP', port: 8443 }],
      endpoints: [{ addresses: ['fd00::100'], hostname: 'my-pet' }, { addresses: ['fd00::'] }],
    },
    'b',
  ),
  slice('default', 'unready', {
    addressType: 'IPv4',
    ports: [],
    endpoints: [{ addresses: ['10.3.0.110'], conditions: { ready: false } }],
  }),
  slice('default', 'empty', {
    addressType: 'IPv4',
    ports: [{ name: 'https', protocol: 'TCP', port: 8443 }],
    endpoints: [{ addresses: ['10.3.0.120'], conditions: { ready: false } }],
  }),
  slice('default', 'kubernetes', {
    addressType: 'IPv4',
    ports: [],
    endpoints: [{ addresses: ['192.0.2.9'], hostname: 'master' }],
  }),
];

function filled(): ReturnType<typeof createClusterNames> {
  const names = createClusterNames();
  for (const [collection, objects] of [
    [names.services, services],
    [names.slices, slices],
  ] as const) {
    collection.begin();
    for (const object of objects) collection.listed(object);
    collection.complete();
  }
  return names;
}

const address = parseIp('169.254.20.10');
assert.ok(address);
const zone = { domain: 'cluster.local', ttl: 5, podNames: true, address };

function asking(name: string, type: string): { readonly bytes: Buffer; readonly query: Query } {
  const bytes = packet.encode({
    type: 'query',
    id: 1,
    flags: packet.RECURSION_DESIRED,
    questions: [{ type: type as 'A', name }],
  });
  const query = readQuery(bytes);
  assert.ok(query !== undefined && !('rcode' in query));
  return { bytes, query };
}

/** Returns the answer as a resolver reads it: the code, then each record. */
function answerTo(question: string, names = filled()): string {
  const [name = '', type = ''] = question.split(' ');
  const { bytes, query } = asking(name, type);
  const decision = decideForCluster(query, names, zone);
  if (decision === undefined) return 'elsewhere';
  if ('alias' in decision) return `alias ${decision.alias}`;
  return read(bytes, query, decision);
}

function read(bytes: Buffer, query: Query, reply: Reply): string {
  const {
    rcode: code,
    answers = [],
    authorities = [],
  } = packet.decode(encodeReply(bytes, query, reply, 65_535)) as packet.DecodedPacket & { rcode: string };
  const said = answers
    .map((record) => {
      const { data } = record as { data: unknown };
      if (record.type === 'SRV') {
        const { port, target } = record.data;
        return `SRV ${port} ${target}`;
      }
      if (record.type === 'SOA') return `SOA ${record.data.mname} ${record.data.rname}`;
      if (record.type === 'TXT') return `TXT ${String(data)}`;
      return `${record.type} ${String(data)}`;
    })
    .toSorted();
  const denied = authorities.map((record) => `[${record.type} ${record.name}]`);
  return [code, ...said, ...denied].join(' ');
}

const svc = 'svc.cluster.local';
const denied = '[SOA cluster.local]';

/** Kubernetes DNS-Based Service Discovery 1.1.0, section by section. */
const table: readonly (readonly [section: string, question: string, answer: string])[] = [
  ['2.2', 'dns-version.cluster.local TXT', 'NOERROR TXT 1.1.0'],
  ['2.2', 'dns-version.cluster.local A', `NOERROR ${denied}`],
  ['2.3.1', `kubernetes.default.${svc} A`, 'NOERROR A 10.3.0.1'],
  ['2.3.1', `kubernetes.default.${svc} AAAA`, 'NOERROR AAAA fd00::1'],
  ['2.3.1', `KUBERNETES.Default.${svc} A`, 'NOERROR A 10.3.0.1'],
  ['2.3.1', `kubernetes.default.${svc} MX`, `NOERROR ${denied}`],
  ['2.3.1', `nothing.default.${svc} A`, `NXDOMAIN ${denied}`],
  ['2.3.1', `kubernetes.other.${svc} A`, `NXDOMAIN ${denied}`],
  ['2.3.1', `pending.default.${svc} A`, `NXDOMAIN ${denied}`],
  ['2.3.2', `_https._tcp.kubernetes.default.${svc} SRV`, `NOERROR SRV 443 kubernetes.default.${svc}`],
  ['2.3.2', `_https._udp.kubernetes.default.${svc} SRV`, `NXDOMAIN ${denied}`],
  ['2.3.2', `_http._tcp.kubernetes.default.${svc} SRV`, `NXDOMAIN ${denied}`],
  ['2.3.2', `_._tcp.kubernetes.default.${svc} SRV`, `NXDOMAIN ${denied}`],
  ['2.3.2', `_https._tcp.kubernetes.default.${svc} A`, `NOERROR ${denied}`],
  ['2.3.2', `_tcp.kubernetes.default.${svc} SRV`, `NOERROR ${denied}`],
  ['2.3.2', `a._https._tcp.kubernetes.default.${svc} SRV`, `NXDOMAIN ${denied}`],
  ['2.3.3', '1.0.3.10.in-addr.arpa PTR', `NOERROR PTR kubernetes.default.${svc}`],
  [
    '2.3.3',
    `1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa PTR`,
    `NOERROR PTR kubernetes.default.${svc}`,
  ],
  ['2.3.3', '9.9.3.10.in-addr.arpa PTR', 'elsewhere'],
  ['2.4.1', `headless.default.${svc} A`, 'NOERROR A 10.3.0.100 A 10.3.0.101'],
  ['2.4.1', `headless.default.${svc} AAAA`, 'NOERROR AAAA fd00:: AAAA fd00::100'],
  ['2.4.1', `my-pet.headless.default.${svc} A`, 'NOERROR A 10.3.0.100'],
  ['2.4.1', `my-pet.headless.default.${svc} AAAA`, 'NOERROR AAAA fd00::100'],
  ['2.4.1', `10-3-0-101.headless.default.${svc} A`, 'NOERROR A 10.3.0.101'],
  ['2.4.1', `fd00--0.headless.default.${svc} AAAA`, 'NOERROR AAAA fd00::'],
  ['2.4.1', `10-3-0-102.headless.default.${svc} A`, `NXDOMAIN ${denied}`],
  ['2.4.1', `master.kubernetes.default.${svc} A`, 'NOERROR A 192.0.2.9'],
  ['2.4.1', `empty.default.${svc} A`, `NXDOMAIN ${denied}`],
  ['2.4.1', `unready.default.${svc} A`, 'NOERROR A 10.3.0.110'],
  ['2.4.1', `unready.default.${svc} AAAA`, `NOERROR ${denied}`],
  [
    '2.4.2',
    `_https._tcp.headless.default.${svc} SRV`,
    `NOERROR SRV 8443 10-3-0-101.headless.default.${svc} SRV 8443 fd00--0.headless.default.${svc} SRV 8443 my-pet.headless.default.${svc}`,
  ],
  [
    '2.4.2',
    `_dns._udp.headless.default.${svc} SRV`,
    `NOERROR SRV 5353 10-3-0-101.headless.default.${svc} SRV 5353 my-pet.headless.default.${svc}`,
  ],
  ['2.4.2', `_https._tcp.empty.default.${svc} SRV`, `NXDOMAIN ${denied}`],
  // As CoreDNS: SRV at a name without a port is for every port.
  [
    '2.3.2',
    `kubernetes.default.${svc} SRV`,
    `NOERROR SRV 443 kubernetes.default.${svc} SRV 80 kubernetes.default.${svc}`,
  ],
  [
    '2.4.2',
    `headless.default.${svc} SRV`,
    `NOERROR SRV 5353 10-3-0-101.headless.default.${svc} SRV 5353 my-pet.headless.default.${svc} SRV 8443 10-3-0-101.headless.default.${svc} SRV 8443 fd00--0.headless.default.${svc} SRV 8443 my-pet.headless.default.${svc}`,
  ],
  [
    '2.4.2',
    `my-pet.headless.default.${svc} SRV`,
    `NOERROR SRV 5353 my-pet.headless.default.${svc} SRV 8443 my-pet.headless.default.${svc}`,
  ],
  ['2.4.2', `unready.default.${svc} SRV`, `NOERROR ${denied}`],
  ['2.4.2', `empty.default.${svc} SRV`, `NXDOMAIN ${denied}`],
  ['2.4.3', '100.0.3.10.in-addr.arpa PTR', `NOERROR PTR my-pet.headless.default.${svc}`],
  ['2.4.3', '101.0.3.10.in-addr.arpa PTR', `NOERROR PTR 10-3-0-101.headless.default.${svc}`],
  ['2.4.3', '102.0.3.10.in-addr.arpa PTR', 'elsewhere'],
  ['2.4.3', '110.0.3.10.in-addr.arpa PTR', `NOERROR PTR 10-3-0-110.unready.default.${svc}`],
  ['2.5', `foo.default.${svc} A`, 'alias www.example.com'],
  ['2.5', `foo.default.${svc} CNAME`, 'NOERROR CNAME www.example.com'],
  ['2.5', `foo.default.${svc} MX`, 'NOERROR CNAME www.example.com'],
  ['2.5', `a.foo.default.${svc} A`, `NXDOMAIN ${denied}`],
  ['2.5', `digits.default.${svc} A`, `NXDOMAIN ${denied}`],
  ['2.5', `inner.default.${svc} A`, `NOERROR A 10.3.0.1 CNAME kubernetes.default.${svc}`],
  ['2.5', `dangling.default.${svc} A`, `NXDOMAIN CNAME no.default.${svc} ${denied}`],
  ['2.5', `inner6.default.${svc} AAAA`, `NOERROR CNAME four.default.${svc} ${denied}`],
  ['2.5', `loop.default.${svc} A`, 'SERVFAIL'],
  ['2.6', '10-3-0-7.default.pod.cluster.local A', 'NOERROR A 10.3.0.7'],
  ['2.6', '10-3-0-7.default.pod.cluster.local AAAA', `NOERROR ${denied}`],
  ['2.6', 'fd00--7.default.pod.cluster.local AAAA', 'NOERROR AAAA fd00::7'],
  ['2.6', '10-3-0-256.default.pod.cluster.local A', `NXDOMAIN ${denied}`],
  ['2.6', 'a.10-3-0-7.default.pod.cluster.local A', `NXDOMAIN ${denied}`],
  ['names above', 'cluster.local A', `NOERROR ${denied}`],
  ['the zone, as CoreDNS', 'cluster.local SOA', 'NOERROR SOA ns.dns.cluster.local hostmaster.cluster.local'],
  ['the zone, as CoreDNS', 'cluster.local NS', 'NOERROR NS ns.dns.cluster.local'],
  ['the zone, as CoreDNS', 'ns.dns.cluster.local A', 'NOERROR A 169.254.20.10'],
  ['the zone, as CoreDNS', 'ns.dns.cluster.local AAAA', `NOERROR ${denied}`],
  ['the zone, as CoreDNS', 'dns.cluster.local A', `NOERROR ${denied}`],
  ['the zone, as CoreDNS', 'other.dns.cluster.local A', `NXDOMAIN ${denied}`],
  ['the zone, as CoreDNS', `default.${svc} SOA`, `NOERROR ${denied}`],
  ['names above', `${svc} A`, `NOERROR ${denied}`],
  ['names above', `default.${svc} A`, `NOERROR ${denied}`],
  ['names above', `other.${svc} A`, `NXDOMAIN ${denied}`],
  ['names above', 'default.pod.cluster.local A', `NOERROR ${denied}`],
  ['other names', 'node.cluster.local A', `NXDOMAIN ${denied}`],
  ['other names', 'example.com A', 'elsewhere'],
  ['other names', 'notcluster.local A', 'elsewhere'],
];

for (const [section, question, answer] of table)
  test(`${section}: ${question}: ${answer}`, () => assert.equal(answerTo(question), answer));

test('before both lists have arrived, no name is denied: cluster names fail, and other names are forwarded', () => {
  const names = createClusterNames();
  for (const question of [
    `kubernetes.default.${svc} A`,
    `nothing.default.${svc} A`,
    '1.0.3.10.in-addr.arpa PTR',
  ]) {
    assert.equal(answerTo(question, names), 'SERVFAIL');
    names.services.begin();
    names.services.complete();
    assert.equal(answerTo(question, names), 'SERVFAIL', 'a single list is not enough');
  }
  assert.equal(answerTo('example.com A', names), 'elsewhere');
});

test('a name without a text form below the domain is denied and never forwarded', () => {
  assert.equal(answerTo(`gehéim.default.${svc} A`), 'NXDOMAIN [SOA cluster.local]');
  assert.equal(answerTo('é.example.com A'), 'elsewhere');
});

test('a denial has the SOA record of the zone, also in the case of the query', () => {
  const soaOf = (name: string, asked: string, part: 'answers' | 'authorities'): unknown => {
    const { bytes, query } = asking(name, asked);
    const reply = decideForCluster(query, filled(), zone) as Reply;
    const [record] = packet.decode(encodeReply(bytes, query, reply, 512))[part] ?? [];
    const { type, data } = record as { type: string; data: { mname: string; rname: string } };
    return { type, ...data, mname: data.mname.toLowerCase(), rname: data.rname.toLowerCase() };
  };
  const own = soaOf('cluster.local', 'SOA', 'answers');
  assert.deepEqual(soaOf(`nothing.default.${svc}`, 'A', 'authorities'), own);
  assert.deepEqual(soaOf('kubernetes.default.SVC.Cluster.Local', 'MX', 'authorities'), own);
  assert.deepEqual(soaOf('cluster.local', 'A', 'authorities'), own);
});

test('a transfer of the zone is refused, as for every other zone', () => {
  for (const question of ['cluster.local AXFR', `kubernetes.default.${svc} IXFR`]) {
    assert.equal(answerTo(question), 'elsewhere');
    const [name = '', type = ''] = question.split(' ');
    const decision = decide(asking(name, type).query, [], zone);
    assert.equal((decision as Reply).rcode, rcode.REFUSED);
  }
});

test('names of pods can be disabled', () => {
  const { query } = asking('10-3-0-7.default.pod.cluster.local', 'A');
  const decision = decideForCluster(query, filled(), { ...zone, podNames: false });
  assert.equal((decision as Reply).rcode, rcode.NXDOMAIN);
});

test('an SRV answer includes the addresses of its targets, as far as they fit', () => {
  const { bytes, query } = asking(`_https._tcp.headless.default.${svc}`, 'SRV');
  const reply = decideForCluster(query, filled(), zone) as Reply;
  const whole = packet.decode(encodeReply(bytes, query, reply, 65_535));
  assert.deepEqual((whole.additionals ?? []).map((record) => `${record.name} ${record.type}`).toSorted(), [
    `10-3-0-101.headless.default.${svc} A`,
    `fd00--0.headless.default.${svc} AAAA`,
    `my-pet.headless.default.${svc} A`,
    `my-pet.headless.default.${svc} AAAA`,
  ]);
  const small = packet.decode(encodeReply(bytes, query, reply, 300));
  assert.deepEqual([small.flag_tc, small.answers?.length], [false, 3]);
  assert.ok((small.additionals?.length ?? 0) < 4);
});

test('an answer that does not fit into a datagram is marked as truncated, and has at most 512 records over TCP', () => {
  const names = filled();
  names.slices.changed(
    slice(
      'default',
      'headless',
      {
        addressType: 'IPv4',
        ports: [],
        endpoints: Array.from({ length: 1000 }, (_, index) => ({
          addresses: [`10.4.${index >> 8}.${index & 255}`],
        })),
      },
      'c',
    ),
  );
  const { bytes, query } = asking(`headless.default.${svc}`, 'A');
  const reply = decideForCluster(query, names, zone) as Reply;
  const datagram = packet.decode(encodeReply(bytes, query, reply, 512));
  assert.deepEqual([datagram.flag_tc, datagram.answers?.length], [true, 28]);
  const stream = packet.decode(encodeReply(bytes, query, reply, 65_535));
  assert.deepEqual([stream.flag_tc, stream.answers?.length], [false, 512]);
});

test('an event changes the names at once, and a removed service has no names', () => {
  const names = filled();
  names.slices.changed(
    slice('default', 'empty', { addressType: 'IPv4', ports: [], endpoints: [{ addresses: ['10.3.0.121'] }] }),
  );
  assert.equal(answerTo(`empty.default.${svc} A`, names), 'NOERROR A 10.3.0.121');
  assert.equal(answerTo('121.0.3.10.in-addr.arpa PTR', names), `NOERROR PTR 10-3-0-121.empty.default.${svc}`);
  names.services.changed(service('default', 'empty', { clusterIP: '10.3.0.50', ports: [] }));
  assert.equal(answerTo('121.0.3.10.in-addr.arpa PTR', names), 'elsewhere');
  assert.equal(answerTo('50.0.3.10.in-addr.arpa PTR', names), `NOERROR PTR empty.default.${svc}`);
  for (const object of services) names.services.removed(object);
  assert.equal(answerTo('50.0.3.10.in-addr.arpa PTR', names), 'elsewhere');
  assert.equal(answerTo(`default.${svc} A`, names), `NXDOMAIN ${denied}`);
});

test('an endpoint in several slices has the ports of all of them, and each of its addresses once', () => {
  const names = filled();
  const both = (port: number): object => ({
    addressType: 'IPv4',
    ports: [{ name: `p${port}`, protocol: 'TCP', port }],
    endpoints: [{ addresses: ['10.5.0.1', '10.5.0.2'], hostname: 'two' }],
  });
  const ports = [1, 2].map((port) => ({ name: `p${port}`, protocol: 'TCP', port }));
  names.services.changed(service('shop', 'db', { clusterIP: 'None', ports }));
  for (const port of [1, 2]) names.slices.changed(slice('shop', 'db', both(port), `of-${port}`));
  assert.equal(answerTo(`db.shop.${svc} A`, names), 'NOERROR A 10.5.0.1 A 10.5.0.2');
  assert.equal(answerTo(`two.db.shop.${svc} A`, names), 'NOERROR A 10.5.0.1 A 10.5.0.2');
  assert.equal(answerTo(`_p2._tcp.db.shop.${svc} SRV`, names), `NOERROR SRV 2 two.db.shop.${svc}`);
  const each = `NOERROR SRV 1 two.db.shop.${svc} SRV 2 two.db.shop.${svc}`;
  assert.equal(answerTo(`db.shop.${svc} SRV`, names), each);
  assert.equal(answerTo(`two.db.shop.${svc} SRV`, names), each);
  assert.equal(answerTo('2.0.5.10.in-addr.arpa PTR', names), `NOERROR PTR two.db.shop.${svc}`);
  const { query } = asking(`db.shop.${svc}`, 'SRV');
  assert.equal((decideForCluster(query, names, zone) as Reply).additionals?.length, 2);
  const other = { addressType: 'IPv4', endpoints: [{ addresses: ['10.5.0.1'], hostname: 'other' }] };
  names.slices.changed(slice('shop', 'db', other, 'other'));
  assert.equal(answerTo(`db.shop.${svc} A`, names), 'NOERROR A 10.5.0.1 A 10.5.0.2');
});

test('a tenant cannot add to the reverse name of a cluster address, and cannot take the reverse name of another endpoint', () => {
  const names = createClusterNames();
  const own = [service('default', 'kubernetes', { clusterIP: '10.3.0.1', ports: named })];
  const forged = Array.from({ length: 20 }, (_, at) => service('evil', `s${at}`, { clusterIP: 'None' }));
  const claims = forged.map((_, at) =>
    slice('evil', `s${at}`, {
      addressType: 'IPv4',
      endpoints: [{ addresses: ['10.3.0.1'] }, { addresses: ['10.3.0.9'], hostname: 'x' }],
    }),
  );
  names.services.begin();
  [...forged, ...own].forEach(names.services.listed);
  names.services.complete();
  names.slices.begin();
  claims.forEach(names.slices.listed);
  names.slices.complete();
  assert.equal(answerTo('1.0.3.10.in-addr.arpa PTR', names), `NOERROR PTR kubernetes.default.${svc}`);
  names.services.changed(service('shop', 'db', { clusterIP: 'None' }));
  names.slices.changed(
    slice('shop', 'db', { addressType: 'IPv4', endpoints: [{ addresses: ['10.3.0.9'], hostname: 'own' }] }),
  );
  assert.equal(names.owners('10.3.0.9').length, 16);
  forged.forEach(names.services.removed);
  assert.equal(answerTo('9.0.3.10.in-addr.arpa PTR', names), `NOERROR PTR own.db.shop.${svc}`);
});

test('SRV records of every port are bounded, whatever an author of slices writes', () => {
  const names = filled();
  const ports = Array.from({ length: 20_000 }, (_, at) => ({
    name: `p${at}`,
    protocol: 'TCP',
    port: at + 1,
  }));
  const endpoints = Array.from({ length: 1000 }, (_, at) => ({ addresses: [`10.9.${at >> 8}.${at & 255}`] }));
  names.slices.changed(slice('default', 'empty', { addressType: 'IPv4', ports, endpoints }));
  names.services.changed(service('shop', 'wide', { clusterIP: '10.3.0.8', ports }));
  for (const name of ['empty.default', 'wide.shop']) {
    const { query } = asking(`${name}.${svc}`, 'SRV');
    const reply = decideForCluster(query, names, zone) as Reply;
    assert.equal(reply.answers.length, 512, name);
    assert.ok((reply.additionals?.length ?? 0) <= 512, name);
  }
});

test('a service is read no further than its limit, also where no endpoint is ready', () => {
  const names = filled();
  names.services.changed(service('shop', 'deep', { clusterIP: 'None' }));
  const put = (suffix: string, ready: boolean, count = 1): void => {
    const endpoints = Array.from({ length: count }, () => ({
      addresses: ['10.9.0.1'],
      conditions: { ready },
    }));
    names.slices.changed(slice('shop', 'deep', { addressType: 'IPv4', endpoints }, suffix));
  };
  for (let at = 0; at < 99; at += 1) put(`unready-${at}`, false, 96);
  put('last', true);
  assert.equal(answerTo(`deep.shop.${svc} A`, names), 'NOERROR A 10.9.0.1');
  names.slices.removed(slice('shop', 'deep', {}, 'last'));
  put('one-more', false, 96);
  put('last', true);
  assert.equal(answerTo(`deep.shop.${svc} A`, names), `NXDOMAIN ${denied}`);
});

test('a service with thousands of ports is parsed once, and a question costs no more than its answer', () => {
  const names = filled();
  const ports = Array.from({ length: 20_000 }, (_, at) => ({
    name: `p${at}`,
    protocol: 'TCP',
    port: at + 1,
  }));
  const endpoints = Array.from({ length: 1000 }, (_, at) => ({ addresses: [`10.9.${at >> 8}.${at & 255}`] }));
  names.slices.changed(slice('shop', 'deep', { addressType: 'IPv4', ports, endpoints }));
  names.services.changed(service('shop', 'wide', { clusterIP: '10.3.0.8', ports }));
  names.services.changed(service('shop', 'deep', { clusterIP: 'None', ports }));
  assert.equal(answerTo(`wide.shop.${svc} A`, names), 'NOERROR A 10.3.0.8');
  assert.equal(answerTo(`_p19998._tcp.deep.shop.${svc} A`, names), `NOERROR ${denied}`);
  const before = process.cpuUsage();
  for (let round = 0; round < 200; round += 1) answerTo(`wide.shop.${svc} A`, names);
  // Each question of this kind compares the names of all ports of a slice, but not once for each endpoint.
  for (let round = 0; round < 10; round += 1) answerTo(`_p19998._tcp.deep.shop.${svc} A`, names);
  const { user, system } = process.cpuUsage(before);
  assert.ok(user + system < 1_500_000, `210 questions took ${(user + system) / 1000} ms of CPU time`);
  names.services.changed(service('shop', 'wide', { clusterIP: '10.3.0.9', ports: [] }));
  assert.equal(answerTo(`wide.shop.${svc} A`, names), 'NOERROR A 10.3.0.9', 'a change counts at once');
});
