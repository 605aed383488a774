import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import packet from 'dns-packet';
import { createHttpServer } from '../../base/connections/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { findTool } from '../../test/fixtures/tools.ts';
import { inPrivateNetns, shell, tried } from '../engine/engine.fixture.ts';
import { bridgeConf, createPluginFixture } from '../plugin-engine/plugin-engine.fixture.ts';
import { startNameServer } from './name-server.ts';
import type { NameServer } from './name-server.ts';

/** Real resolvers ask for the names of a cluster, from pods and from the host. */
if (inPrivateNetns(import.meta.filename, 240_000)) {
  const fixture = createPluginFixture();
  const { folder, databasePath, pin, add } = fixture;
  const log = createLogger({ level: 'error' });
  const run = promisify(execFile);
  const address = '169.254.20.10';

  const object = (name: string, rest: object): object => ({
    metadata: { namespace: 'shop', name, resourceVersion: '2' },
    ...rest,
  });
  const sliceOf = (owner: string, count: number): object => ({
    metadata: {
      namespace: 'shop',
      name: `${owner}-a`,
      resourceVersion: '2',
      labels: { 'kubernetes.io/service-name': owner },
    },
    addressType: 'IPv4',
    ports: [{ name: 'sql', protocol: 'TCP', port: 5432 }],
    endpoints: Array.from({ length: count }, (_, index) => ({
      addresses: [`10.9.${index >> 8}.${index & 255}`],
      hostname: `db-${index}`,
    })),
  });
  const ports = [{ name: 'sql', protocol: 'TCP', port: 5432 }];
  const objects: Readonly<Record<string, object[]>> = {
    '/api/v1/services': [
      object('web', { spec: { clusterIP: '10.96.0.7', clusterIPs: ['10.96.0.7', 'fd00:96::7'], ports } }),
      object('db', { spec: { clusterIP: 'None', ports } }),
      object('many', { spec: { clusterIP: 'None', ports } }),
      object('away', { spec: { type: 'ExternalName', externalName: 'elsewhere.example' } }),
      object('cut', { spec: { type: 'ExternalName', externalName: 'cut.example' } }),
      object('partial', { spec: { type: 'ExternalName', externalName: 'partial.example' } }),
    ],
    '/apis/discovery.k8s.io/v1/endpointslices': [sliceOf('db', 2), sliceOf('many', 300)],
  };
  /** Lists are held back until the test lets them go. */
  const gate = Promise.withResolvers<undefined>();
  const streams = new Map<string, ServerResponse>();
  const api = createHttpServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://server');
    if (searchParams.get('watch') === 'true') {
      response.writeHead(200).flushHeaders();
      return void streams.set(pathname, response);
    }
    void gate.promise.then(() =>
      response.end(JSON.stringify({ metadata: { resourceVersion: '1' }, items: objects[pathname] })),
    );
  });
  api.listen(0, '127.0.0.1');
  await once(api, 'listening');
  const kubeconfig = join(folder, 'kubeconfig');
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      'current-context': 'c',
      contexts: [{ name: 'c', context: { cluster: 'c' } }],
      clusters: [
        { name: 'c', cluster: { server: `http://127.0.0.1:${(api.address() as AddressInfo).port}` } },
      ],
    }),
  );

  /**
   * Knows the address of every name below `example`, and no other name. Its answers for `partial.example` and
   * `cut.example` are truncated, and the latter ends within a record.
   */
  const upstream = createSocket('udp4');
  upstream.on('message', (message, from) => {
    const query = packet.decode(message);
    const [question] = query.questions ?? [];
    if (question === undefined) return;
    const isKnown = question.name.endsWith('example');
    const answers =
      isKnown && question.type === 'A'
        ? [{ type: 'A' as const, name: question.name, data: '192.0.2.80', ttl: 60 }]
        : [];
    const isCut = question.name === 'cut.example';
    const isTruncated = isCut || question.name === 'partial.example';
    const answer = packet.encode({
      type: 'response',
      id: query.id ?? 0,
      flags: packet.RECURSION_AVAILABLE | (isKnown ? 0 : 3) | (isTruncated ? packet.TRUNCATED_RESPONSE : 0),
      questions: [question],
      answers,
    });
    upstream.send(isCut ? answer.subarray(0, -2) : answer, from.port, from.address);
  });
  await new Promise<void>((resolve) => upstream.bind(0, '127.0.0.1', resolve));
  const resolvConf = join(folder, 'node-resolv.conf');
  writeFileSync(resolvConf, 'nameserver 127.0.0.1\n');

  const conf = bridgeConf({
    bridge: 'br81',
    ipMasq: true,
    ipam: { type: 'portcullis-ipam', ranges: [[{ subnet: '10.81.0.0/24' }]] },
  });
  const pod = pin('pod');
  await add([conf], { id: 'pod', netns: pod, name: 'eth0', network: 'pods' });
  const settings = {
    databasePath,
    ttl: 5,
    upstreams: [],
    maxForwards: 100,
    upstreamPort: upstream.address().port,
    resolvConf,
  };
  const cluster = { place: { kubeconfig }, address, domain: 'cluster.local', podNames: true };
  let server: NameServer = await startNameServer({ ...settings, cluster }, log);
  after(async () => {
    await server.close();
    upstream.close();
    api.closeAllConnections();
    api.close();
    await fixture.end();
  });

  const resolv = `nameserver ${address}\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5 timeout:2 attempts:1\n`;
  async function resolving(netns: string, ...command: string[]): Promise<string[]> {
    const file = join(folder, 'resolv.conf');
    writeFileSync(file, resolv);
    const script = `mount --bind ${file} "$(readlink -f /etc/resolv.conf)" && exec "$@"`;
    const { stdout } = await run('nsenter', [
      ...[`--net=${netns}`, 'unshare', '--mount', 'sh', '-c', script, 'sh'],
      ...command,
    ]).catch((thrown: unknown) => thrown as { readonly stdout: string });
    return stdout.split('\n').filter((line) => line !== '');
  }
  const getent = async (netns: string, ...words: string[]): Promise<string[]> => [
    ...new Set((await resolving(netns, 'getent', ...words)).map((line) => line.split(/\s+/u)[0] ?? '')),
  ];
  const digs: { readonly skip?: string } =
    tried('command -v dig') === undefined ? { skip: 'dig (bind9-dnsutils) is not installed' } : {};
  const dig = async (netns: string, query: string): Promise<string> =>
    (
      await run('nsenter', [
        ...[`--net=${netns}`, 'dig', '+tries=1', '+time=5', `@${address}`],
        ...query.split(' '),
      ]).catch((thrown: unknown) => ({ stdout: `failed: ${String(thrown)}` }))
    ).stdout.trim();
  const status = async (query: string, netns = pod): Promise<string> =>
    /status: (\w+)/u.exec(await dig(netns, query))?.[1] ?? 'failed';
  const own = '/proc/self/ns/net';

  test(
    'before the first list, cluster names fail with a reason, and other names are forwarded',
    digs,
    async () => {
      assert.equal(await status('web.shop.svc.cluster.local A'), 'SERVFAIL');
      assert.match(await dig(pod, 'web.shop.svc.cluster.local A'), /EDE: 14/u);
      assert.equal(await dig(pod, '+short elsewhere.example A'), '192.0.2.80');
    },
  );

  test('when both lists have arrived, the names are answered', async () => {
    assert.deepEqual(await getent(pod, 'ahostsv4', 'web'), []);
    gate.resolve(undefined);
    for (const deadline = Date.now() + 60_000; (await getent(pod, 'ahostsv4', 'web')).length === 0;)
      assert.ok(Date.now() < deadline, 'the names were not answered in time');
  });

  test('glibc resolves short names of services, their endpoints, aliases and addresses, and names outside the cluster', async () => {
    assert.deepEqual((await getent(pod, 'ahosts', 'web')).toSorted(), ['10.96.0.7', 'fd00:96::7']);
    assert.deepEqual(await getent(pod, 'ahostsv4', 'web.shop'), ['10.96.0.7']);
    assert.deepEqual((await getent(pod, 'ahostsv4', 'db')).toSorted(), ['10.9.0.0', '10.9.0.1']);
    assert.deepEqual(await getent(pod, 'ahostsv4', 'db-1.db'), ['10.9.0.1']);
    assert.deepEqual(await getent(pod, 'ahostsv4', 'away'), ['192.0.2.80']);
    assert.deepEqual(await getent(pod, 'ahostsv4', 'elsewhere.example'), ['192.0.2.80']);
    assert.deepEqual(await getent(pod, 'ahostsv4', 'nothing'), []);
    assert.deepEqual(await resolving(pod, 'getent', 'hosts', '10.96.0.7'), [
      '10.96.0.7       web.shop.svc.cluster.local',
    ]);
    assert.deepEqual(
      (await getent(pod, 'ahostsv4', 'many')).length,
      300,
      'an answer that does not fit into a datagram arrives over TCP',
    );
  });

  const musl = findTool('musl-resolve');
  test('musl resolves both kinds of address at once', { skip: musl.skip }, async () => {
    const lookup = async (name: string): Promise<string[]> =>
      (await resolving(pod, musl.path, name)).toSorted();
    assert.deepEqual(await lookup('web'), ['10.96.0.7', 'fd00:96::7']);
    assert.deepEqual(await lookup('db.shop'), ['10.9.0.0', '10.9.0.1']);
    assert.deepEqual(await lookup('away'), ['192.0.2.80']);
    assert.deepEqual(await lookup('elsewhere.example'), ['192.0.2.80']);
  });

  test(
    'dig gets an alias with its address, and SRV with its targets; a changed service is answered at once',
    digs,
    async () => {
      assert.equal(await dig(pod, '+short away.shop.svc.cluster.local A'), 'elsewhere.example.\n192.0.2.80');
      assert.match(
        await dig(pod, '_sql._tcp.db.shop.svc.cluster.local SRV'),
        /SRV\s+0 50 5432 db-0\.db\.shop\.svc\.cluster\.local\.[^]*ADDITIONAL[^]*db-[01]\.db\.shop\.svc\.cluster\.local\.\s+5\s+IN\s+A\s+10\.9\.0\./u,
      );
      assert.equal(await status('many.shop.svc.cluster.local A +ignore +noedns'), 'NOERROR');
      assert.match(await dig(pod, '+ignore +noedns many.shop.svc.cluster.local A'), /flags: [^;]*\btc\b/u);
      assert.equal(await status('nothing.shop.svc.cluster.local A'), 'NXDOMAIN');
      const changed = { type: 'ADDED', object: object('new', { spec: { clusterIP: '10.96.0.8', ports } }) };
      streams.get('/api/v1/services')?.write(`${JSON.stringify(changed)}\n`);
      for (
        const deadline = Date.now() + 60_000;
        (await dig(pod, '+short new.shop.svc.cluster.local')) !== '10.96.0.8';
      )
        assert.ok(Date.now() < deadline, 'the new service was not answered in time');
    },
  );

  const askOnce = async (name: string): Promise<packet.DecodedPacket & { rcode: string }> => {
    const client = createSocket('udp4');
    after(() => client.close());
    const query = packet.encode({ type: 'query', id: 7, questions: [{ type: 'A', name }] });
    const answered = once(client, 'message') as Promise<[Buffer]>;
    // As a resolver does: a datagram may be lost.
    const asking = setInterval(() => client.send(query, 53, address), 200);
    const [answer] = await answered.finally(() => clearInterval(asking));
    return packet.decode(answer) as packet.DecodedPacket & { rcode: string };
  };

  test('the truncated answer of another server for an alias is passed on as truncated', async () => {
    const { rcode, flag_tc: isTruncated } = await askOnce('cut.shop.svc.cluster.local');
    assert.deepEqual({ rcode, isTruncated }, { rcode: 'NOERROR', isTruncated: true });
  });

  test('a truncated answer for an alias keeps its records, for resolvers that never ask over TCP', async () => {
    const { flag_tc: isTruncated, answers } = await askOnce('partial.shop.svc.cluster.local');
    const addresses = answers?.flatMap((each) => (each.type === 'A' ? [each.data] : []));
    assert.deepEqual({ isTruncated, addresses }, { isTruncated: true, addresses: ['192.0.2.80'] });
  });

  test('the host and its own pods get answers; an address that no pod has gets a refusal', digs, async () => {
    assert.equal(await dig(own, '+short web.shop.svc.cluster.local'), '10.96.0.7');
    shell('ip addr add 10.81.0.77/24 dev br81');
    assert.equal(await status('web.shop.svc.cluster.local -b 10.81.0.1', own), 'NOERROR');
    shell('ip addr del 10.81.0.77/24 dev br81');
    shell(`nsenter --net=${pod} ip addr add 10.81.0.99/24 dev eth0`);
    assert.equal(await status('web.shop.svc.cluster.local -b 10.81.0.99'), 'REFUSED');
    shell(`nsenter --net=${pod} ip addr del 10.81.0.99/24 dev eth0`);
  });

  test(
    'a pod that floods the name server is limited, and another client still gets answers',
    digs,
    async () => {
      const flood = createSocket('udp4');
      await new Promise<void>((resolve) => flood.bind(0, address, resolve));
      let answered = 0;
      flood.on('message', () => (answered += 1));
      const query = packet.encode({
        type: 'query',
        id: 7,
        questions: [{ type: 'A', name: 'web.shop.svc.cluster.local' }],
      });
      for (let round = 0; round < 100; round += 1) {
        for (let one = 0; one < 100; one += 1) flood.send(query, 53, address);
        await new Promise((resolve) => setImmediate(resolve));
      }
      assert.equal(await dig(pod, '+short web.shop.svc.cluster.local'), '10.96.0.7');
      const ignored = async (): Promise<number> => (await server.figures())?.queries.ignored ?? 0;
      for (const end = Date.now() + 60_000; answered === 0 || (await ignored()) <= 1000;) {
        assert.ok(Date.now() < end, `${answered} questions were answered, and ${await ignored()} were not`);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      flood.close();
    },
  );

  test('the name server does not use an address that the host has on another link', async () => {
    shell('ip link add up81 type bridge && ip addr add 192.0.2.81/32 dev up81');
    await server.close();
    server = await startNameServer({ ...settings, cluster: { ...cluster, address: '192.0.2.81' } }, log);
    assert.doesNotMatch(shell('ip -o addr show dev lo'), /192\.0\.2\.81/u);
    assert.doesNotMatch(shell('ss -Hlun'), /192\.0\.2\.81:53/u);
    await server.close();
    shell('ip link del up81');
    server = await startNameServer({ ...settings, cluster }, log);
    shell(`ip link add up81 type bridge && ip addr add ${address}/32 dev up81`);
    const listens = (): boolean => shell('ss -Hlun').includes(`${address}:53`);
    for (const deadline = Date.now() + 15_000; listens(); await new Promise((wake) => setTimeout(wake, 100)))
      assert.ok(Date.now() < deadline, 'the listener was not closed');
    shell('ip link del up81');
    for (const deadline = Date.now() + 15_000; !listens(); await new Promise((wake) => setTimeout(wake, 100)))
      assert.ok(Date.now() < deadline, 'the listener was not opened again');
  });

  test('the former address is removed from the host if the address is changed or removed from the configuration', async () => {
    const present = (): string => shell('ip -o addr show dev lo');
    assert.match(present(), /169\.254\.20\.10\/32/u);
    await server.close();
    assert.match(present(), /169\.254\.20\.10\/32/u, 'it stays while the daemon is down');
    server = await startNameServer({ ...settings, cluster: { ...cluster, address: 'fd00:53::10' } }, log);
    assert.doesNotMatch(present(), /169\.254\.20\.10\/32/u);
    assert.match(present(), /fd00:53::10\/128/u);
    if (digs.skip === undefined)
      for (const deadline = Date.now() + 60_000; ;) {
        const { stdout } = await run('dig', [
          '+short',
          '@fd00:53::10',
          'web.shop.svc.cluster.local',
          'AAAA',
        ]).catch((thrown: unknown) => thrown as { readonly stdout: string });
        if (stdout === 'fd00:96::7\n') break;
        assert.ok(Date.now() < deadline, stdout);
      }
    await server.close();
    server = await startNameServer(settings, log);
    assert.doesNotMatch(present(), /169\.254\.|fd00:53/u);
    assert.equal(existsSync(`${databasePath}.cluster-address`), false);
  });
}
