import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import packet from 'dns-packet';
import { createLogger } from '../../base/log/index.ts';
import { openNetworkDatabase } from '../database/database.ts';
import { inPrivateNetns, shell, tried } from '../engine/engine.fixture.ts';
import { createNameStore } from '../database/endpoint-names.ts';
import type { NetworkName } from '../database/endpoint-names.ts';
import { findTool } from '../../test/fixtures/tools.ts';
import { bridgeConf, createPluginFixture } from '../plugin-engine/plugin-engine.fixture.ts';
import { startNameServer } from './name-server.ts';
import type { NameServer } from './name-server.ts';

if (inPrivateNetns(import.meta.filename, 240_000)) {
  const fixture = createPluginFixture();
  const { folder, databasePath, pin, inside, add, del } = fixture;
  const log = createLogger({ level: 'error' });
  const run = promisify(execFile);

  const range = (net: number): object => ({
    type: 'portcullis-ipam',
    ranges: [[{ subnet: `10.${net}.0.0/24` }], [{ subnet: `fd00:${net}::/64` }]],
  });
  const conf = (net: number): ReturnType<typeof bridgeConf> =>
    bridgeConf({ bridge: `br${net}`, ipMasq: true, ipam: range(net) });
  const gateway = (net: number): string => `10.${net}.0.1`;

  const database = openNetworkDatabase(databasePath);
  const store = createNameStore(database);
  const attachments = database.db.prepare(
    'SELECT number, realm AS namespaceId FROM attachment WHERE container_id = ? AND network = ?',
  );

  /** Gives a container's endpoint a name, which ends with the attachment. */
  function name(id: string, network: string, names: readonly NetworkName[]): void {
    const { number, namespaceId } = attachments.get(id, network) as { number: number; namespaceId: string };
    store.put({ namespaceId, network, holder: `${id}/test`, attachment: number }, names);
  }

  const addresses = (result: { ips: readonly { address: string }[] }): string[] =>
    result.ips.map(({ address }) => address.replace(/\/.*/u, ''));

  async function join1(
    id: string,
    netns: string,
    network: string,
    net: number,
    eth: string,
    own: string,
  ): Promise<string[]> {
    const result = await add([conf(net)], { id, netns, name: eth, network });
    const found = addresses(result);
    name(
      id,
      network,
      found.map((address): NetworkName => ({ name: own, address, kind: 'container' })),
    );
    return found;
  }

  /** Answers `A` for every name except those that begin with `dead`. */
  const upstream = createSocket('udp4');
  const forwardedNames: string[] = [];
  upstream.on('message', (message, from) => {
    const query = packet.decode(message);
    const [question] = query.questions ?? [];
    if (question === undefined) return;
    forwardedNames.push(question.name);
    if (question.name.startsWith('dead')) return;
    const answers =
      question.type === 'A' ? [{ type: 'A' as const, name: question.name, data: '192.0.2.80', ttl: 60 }] : [];
    upstream.send(
      packet.encode({
        type: 'response',
        id: query.id ?? 0,
        flags: packet.RECURSION_AVAILABLE,
        questions: [question],
        answers,
      }),
      from.port,
      from.address,
    );
  });
  await new Promise<void>((resolve) => upstream.bind(0, '127.0.0.1', resolve));
  const resolvConf = join(folder, 'node-resolv.conf');
  writeFileSync(resolvConf, 'nameserver 127.0.0.1\n');

  const start = (): Promise<NameServer> =>
    startNameServer(
      {
        databasePath,
        ttl: 5,
        upstreams: [],
        maxForwards: 100,
        upstreamPort: upstream.address().port,
        resolvConf,
      },
      log,
    );

  const [web, db, both] = [pin('web'), pin('db'), pin('both')];
  const webAddresses = await join1('web', web, 'front', 71, 'eth0', 'web');
  const [dbAddress = ''] = await join1('db', db, 'back', 72, 'eth0', 'db');
  await join1('both', both, 'front', 71, 'eth0', 'both');
  await join1('both', both, 'back', 72, 'eth1', 'both');
  let server = await start();

  after(async () => {
    await server.close();
    database.close();
    upstream.close();
    await fixture.end();
  });

  const digOut = async (netns: string, query: string): Promise<string> =>
    (
      await run('nsenter', [`--net=${netns}`, 'dig', '+tries=1', '+time=5', ...query.split(' ')]).catch(
        (thrown: unknown) => ({
          stdout: `failed: ${String(thrown)}`,
        }),
      )
    ).stdout.trim();
  const dig = async (netns: string, query: string): Promise<string> => {
    const out = await digOut(netns, `+short ${query}`);
    return out.startsWith('failed') ? 'failed' : out;
  };
  const status = async (netns: string, query: string): Promise<string> =>
    /status: (\w+)/u.exec(await digOut(netns, query))?.[1] ?? 'failed';
  async function until(holds: () => boolean | Promise<boolean>, withinMs = 15_000): Promise<void> {
    for (const deadline = Date.now() + withinMs; !(await holds());) {
      assert.ok(Date.now() < deadline, 'the condition was not met in time');
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  const digs = tried('command -v dig') === undefined ? { skip: 'dig (bind9-dnsutils) is not installed' } : {};

  /** Runs a program like one in the pod, whose resolv.conf is `resolv`, and returns its output. */
  async function resolving(netns: string, resolv: string, ...command: string[]): Promise<string[]> {
    const file = join(folder, 'resolv.conf');
    writeFileSync(file, resolv);
    const script = `mount --bind ${file} "$(readlink -f /etc/resolv.conf)" && exec "$@"`;
    const { stdout } = await run('nsenter', [
      `--net=${netns}`,
      'unshare',
      '--mount',
      'sh',
      '-c',
      script,
      'sh',
      ...command,
    ]).catch((thrown: unknown) => thrown as { readonly stdout: string });
    return stdout.split('\n').filter((line) => line !== '');
  }

  /** Uses glibc's resolver. */
  async function getent(netns: string, resolv: string, ...words: string[]): Promise<string> {
    return [
      ...new Set(
        (await resolving(netns, resolv, 'getent', ...words)).map((line) => line.split(/\s+/u)[0] ?? ''),
      ),
    ].join(' ');
  }

  test('glibc resolves names and aliases, but none of a network that the container is not on', async () => {
    const resolv = `nameserver ${gateway(71)}\nsearch front.portcullis.internal\noptions timeout:2 attempts:1\n`;
    assert.deepEqual(
      (await getent(both, resolv, 'ahosts', 'web')).split(' ').toSorted(),
      webAddresses.toSorted(),
    );
    assert.equal(await getent(web, resolv, 'ahostsv4', 'WEB.front.portcullis.internal'), webAddresses[0]);
    assert.equal(
      await getent(both, resolv, 'ahostsv4', 'db'),
      dbAddress,
      'on the second network of the client',
    );
    assert.equal(await getent(web, resolv, 'ahostsv4', 'db.back.portcullis.internal'), '');
    assert.equal(await getent(web, resolv, 'ahostsv4', 'elsewhere.example'), '192.0.2.80');
    assert.equal(await getent(web, resolv, 'hosts', webAddresses[1] ?? ''), webAddresses[1]);
  });

  // Debian's version 1.2.3, the last one that never uses TCP: it takes what fits.
  const musl = findTool('musl-resolve');
  test('musl, as in Alpine images, resolves both kinds of address at once', { skip: musl.skip }, async () => {
    const resolv = `search back.portcullis.internal front.portcullis.internal\nnameserver ${gateway(71)}\n`;
    const lookup = async (netns: string, name: string): Promise<string[]> =>
      (await resolving(netns, resolv, musl.path, name)).toSorted();
    for (const each of [
      'web',
      'WEB',
      'web.front',
      'web.front.portcullis.internal',
      'web.front.portcullis.internal.',
    ])
      assert.deepEqual(await lookup(both, each), webAddresses.toSorted(), each);
    assert.deepEqual(
      await lookup(web, 'elsewhere.example'),
      ['192.0.2.80'],
      'an upstream server without an AAAA record for the name',
    );
    assert.deepEqual(await lookup(web, 'db.back.portcullis.internal'), ['Name does not resolve']);
    assert.deepEqual(await lookup(web, 'dead.example'), ['Try again']);
    const { namespaceId } = attachments.get('web', 'front') as { namespaceId: string };
    const service = { namespaceId, network: 'front', holder: 'service many' };
    store.put(
      service,
      Array.from({ length: 60 }, (_, index): NetworkName => ({
        name: 'many',
        address: `10.71.1.${index}`,
        kind: 'service',
      })),
    );
    const many = await lookup(web, 'many');
    assert.ok(many.length >= 20 && many.every((address) => address.startsWith('10.71.1.')), many.join(' '));
    store.take(service);
  });

  test('busybox also resolves them, also over IPv6', async () => {
    const { stdout } = await run('nsenter', [`--net=${both}`, 'busybox', 'nslookup', 'web', gateway(71)]);
    assert.ok(
      webAddresses.every((address) => stdout.includes(address)),
      stdout,
    );
    const six = await run('nsenter', [`--net=${both}`, 'busybox', 'nslookup', 'web', 'fd00:71::1']);
    assert.ok(six.stdout.includes(webAddresses[0] ?? 'none'), six.stdout);
  });

  test('two networks do not see each other’s names, whichever gateway is asked', digs, async () => {
    assert.equal(
      await dig(both, `@${gateway(72)} web`),
      webAddresses[0],
      'a container on both networks sees both names',
    );
    assert.equal(await dig(web, `@${gateway(71)} web`), webAddresses[0]);
    forwardedNames.length = 0;
    assert.equal(
      await dig(web, `@${gateway(71)} db`),
      '192.0.2.80',
      'a name that is unknown here is forwarded',
    );
    // Dead upstreams are still asked for earlier questions.
    const asked = (): string[] => forwardedNames.filter((name) => name !== 'dead.example');
    assert.deepEqual(asked(), ['db']);
    assert.equal(await status(web, `@${gateway(71)} db.back.portcullis.internal`), 'NXDOMAIN');
    assert.equal(await status(web, `@${gateway(72)} db`), 'REFUSED', 'another network’s gateway');
    assert.deepEqual(asked(), ['db']);
  });

  test('a container without a route out of its networks cannot resolve outside names', digs, async () => {
    const bridge = bridgeConf({
      bridge: 'br74',
      isDefaultGateway: false,
      isGateway: true,
      ipMasq: false,
      ipam: range(74),
    });
    // As `portcullis network create --internal` writes it.
    const closed = [bridge, { type: 'portcullis-firewall', ingressPolicy: 'internal', backend: 'nftables' }];
    const [lonely, guest] = [pin('lonely'), pin('guest')];
    const result = await add(closed, { id: 'lonely', netns: lonely, network: 'vault' });
    const own = addresses(result);
    name(
      'lonely',
      'vault',
      own.map((address): NetworkName => ({ name: 'lonely', address, kind: 'container' })),
    );
    await until(async () => (await dig(lonely, `@${gateway(74)} +time=1 lonely`)) === own[0]);
    forwardedNames.length = 0;
    assert.equal(await status(lonely, `@${gateway(74)} secret.elsewhere.example`), 'REFUSED');
    // From an address that was not leased.
    inside(lonely, 'ip address add 10.74.0.200/24 dev eth0');
    assert.equal(await status(lonely, `-b 10.74.0.200 @${gateway(74)} secret.elsewhere.example`), 'REFUSED');
    assert.deepEqual(forwardedNames, []);
    // A container that is also on another network has a way out there.
    await add(closed, { id: 'guest', netns: guest, network: 'vault' });
    await join1('guest', guest, 'front', 71, 'eth1', 'guest');
    assert.equal(await dig(guest, `@${gateway(74)} elsewhere.example`), '192.0.2.80');
    for (const id of ['lonely', 'guest'])
      await del(closed, { id, netns: id === 'lonely' ? lonely : guest, network: 'vault' });
    await del([conf(71)], { id: 'guest', netns: guest, name: 'eth1', network: 'front' });
    await until(async () => (await server.figures())?.listeners === 4);
  });

  test('dig gets answers to all kinds of questions', digs, async () => {
    const front = `@${gateway(71)}`;
    assert.equal(await dig(web, `${front} web AAAA`), webAddresses[1]);
    assert.equal(await dig(web, `${front} -x ${webAddresses[0] ?? ''}`), 'web.front.portcullis.internal.');
    assert.equal(await dig(web, `${front} +tcp web`), webAddresses[0]);
    assert.equal(await dig(web, `@fd00:71::1 +tcp web AAAA`), webAddresses[1]);
    assert.equal(await status(web, `${front} web MX`), 'NOERROR');
    assert.equal(await status(web, `${front} version.bind CH TXT`), 'REFUSED');
    assert.equal(await status(web, `${front} web AXFR`), 'failed');
    assert.equal(await status(web, `${front} +edns=1 +noednsneg web`), 'BADVERS');
    assert.equal(await status(web, `${front} +norecurse elsewhere.example`), 'REFUSED');
    forwardedNames.length = 0;
    name('web', 'front', [
      ...webAddresses.map((address): NetworkName => ({ name: 'web', address, kind: 'container' })),
      { name: 'four', address: webAddresses[0] ?? '', kind: 'alias' },
    ]);
    assert.equal(
      await dig(web, `${front} four`),
      webAddresses[0],
      'the name is known as soon as it is committed',
    );
    assert.equal(await dig(web, `${front} four AAAA`), '');
    assert.deepEqual(forwardedNames, []);
  });

  const namespaceIdHere = (): string =>
    (attachments.get('web', 'front') as { namespaceId: string }).namespaceId;

  test(
    'services: a virtual address takes precedence over backends, and long answers arrive complete over TCP',
    digs,
    async () => {
      const service = { namespaceId: namespaceIdHere(), network: 'front', holder: 'service shop' };
      store.put(service, [{ name: 'shop', address: '10.96.0.9', kind: 'service' }]);
      assert.equal(await dig(web, `@${gateway(71)} shop`), '10.96.0.9');
      const backends = Array.from({ length: 200 }, (_, index): NetworkName => ({
        name: 'tasks.shop',
        address: `10.71.1.${index}`,
        kind: 'service',
      }));
      store.put(service, backends);
      assert.equal(
        (await dig(web, `@${gateway(71)} tasks.shop`)).split('\n').length,
        200,
        'dig repeats the question over TCP',
      );
      assert.notEqual(
        await dig(web, `@${gateway(71)} +ignore tasks.shop`),
        await dig(web, `@${gateway(71)} +ignore tasks.shop`),
        'in another order',
      );
      store.take(service);
      assert.equal(await dig(web, `@${gateway(71)} shop`), '192.0.2.80');
    },
  );

  test('the name server continues to answer after any message; connections are limited', digs, async () => {
    const socket = createSocket('udp4');
    const valid = packet.encode({
      type: 'query',
      id: 1,
      questions: [{ name: 'web.front', type: 'A', class: 'IN' }],
    });
    const answers: Buffer[] = [];
    socket.on('message', (message) => answers.push(message));
    let seed = 1;
    const random = (below: number): number => (seed = (seed * 48_271) % 0x7fffffff) % below;
    for (let count = 0; count < 4000; count += 1) {
      const bytes = random(2) === 0 ? Buffer.from(valid) : Buffer.alloc(random(1500));
      for (let change = random(8); change > 0 && bytes.length > 0; change -= 1)
        bytes[random(bytes.length)] = random(256);
      socket.send(bytes.subarray(0, random(bytes.length + 1)), 53, gateway(71));
      if (count % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    const open: Socket[] = [];
    for (let count = 0; count < 60; count += 1) {
      const stream = connect(53, gateway(71));
      stream.on('error', () => undefined);
      stream.write(count % 2 === 0 ? Buffer.alloc(3000, count) : Buffer.of(0xff, 0xff, 1));
      open.push(stream);
    }
    assert.equal(await dig(web, `@${gateway(71)} web`), webAddresses[0]);
    await until(async () => (await dig(web, `@${gateway(71)} +tcp +time=1 web`)) === webAddresses[0]);
    await until(
      () => open.filter(({ destroyed, readyState }) => !destroyed && readyState === 'open').length <= 32,
    );
    open.forEach((stream) => stream.destroy());
    socket.close();
    assert.ok(
      answers.every((answer) => (answer[2] ?? 0) >= 0x80 && answer.length <= 512),
      'there are answers, and none is longer than its client supports',
    );
    const figures = await server.figures();
    assert.ok(
      figures !== undefined &&
        figures.queries.malformed > 100 &&
        figures.queries.ignored > 100 &&
        figures.listeners === 4,
    );
  });

  test(
    'a pod that floods the gateway gets no more than its share, and another pod is answered',
    digs,
    async () => {
      const flood = `
      const socket = require('node:dgram').createSocket('udp4');
      const question = Buffer.from('${packet
        .encode({ type: 'query', id: 7, questions: [{ name: 'web.front', type: 'A', class: 'IN' }] })
        .toString('hex')}', 'hex');
      let left = 20000;
      const send = () => {
        for (let count = 0; count < 100; count += 1) socket.send(question, 53, '${gateway(71)}');
        left -= 100;
        if (left > 0) setImmediate(send); else setTimeout(() => process.exit(), 100);
      };
      send();`;
      const ignored = async (): Promise<number> => (await server.figures())?.queries.ignored ?? 0;
      const before = await ignored();
      const flooding = run('nsenter', [`--net=${both}`, process.execPath, '-e', flood]);
      assert.equal(await dig(web, `@${gateway(71)} web`), webAddresses[0]);
      await flooding;
      await until(async () => (await ignored()) - before > 1000);
      assert.equal(await dig(web, `@${gateway(71)} web`), webAddresses[0]);
    },
  );

  /** Returns the addresses of a name, asked by the host itself, or `closed` if the connection is closed. */
  function askByTcp(name: string): Promise<string[] | 'closed'> {
    return new Promise((resolve) => {
      const stream = connect({ port: 53, host: gateway(71), localAddress: gateway(71) });
      stream.on('error', () => undefined);
      stream.on('close', () => resolve('closed'));
      stream.write(
        packet.streamEncode({ type: 'query', id: 1, questions: [{ name, type: 'A', class: 'IN' }] }),
      );
      stream.once('data', (bytes: Buffer) => {
        resolve(
          (packet.streamDecode(bytes).answers ?? []).flatMap((answer) =>
            answer.type === 'A' ? [answer.data] : [],
          ),
        );
        stream.destroy();
      });
    });
  }

  test('clients that use every connection do not keep another client out', async () => {
    const open: Socket[] = [];
    const closed = new Set<Socket>();
    for (let asker = 2; asker < 14; asker += 1)
      for (let count = 0; count < 30; count += 1) {
        const stream = connect({ port: 53, host: gateway(71), localAddress: `127.0.0.${asker}` });
        stream.on('error', () => undefined);
        stream.on('close', () => closed.add(stream));
        // Half of a message: the server waits for the rest.
        stream.write(Buffer.of(0, 40, 1));
        open.push(stream);
      }
    await until(() => closed.size >= open.length - 256);
    for (let count = 0; count < 20; count += 1)
      assert.deepEqual(await askByTcp('web.front'), webAddresses.slice(0, 1), 'each is answered');
    open.forEach((stream) => stream.destroy());
  });

  test(
    'if the upstream servers are down, our names are answered at once and other names in time',
    digs,
    async () => {
      const began = performance.now();
      const [dead, own] = await Promise.all([
        run('nsenter', [`--net=${web}`, 'dig', '+tries=1', '+time=5', `@${gateway(71)}`, 'dead.example']),
        run('nsenter', [`--net=${web}`, 'dig', '+tries=1', '+time=5', '+short', `@${gateway(71)}`, 'web']),
      ]);
      assert.match(dead.stdout, /status: SERVFAIL/u);
      assert.ok(dead.stdout.includes('EDE: 22'), dead.stdout);
      assert.equal(own.stdout.trim(), webAddresses[0]);
      assert.ok(performance.now() - began < 5000);
    },
  );

  test(
    'names are answered again after a restart; listeners are opened and closed with their networks',
    digs,
    async () => {
      await server.close();
      assert.equal(await dig(web, `@${gateway(71)} web`), 'failed');
      const other = createSocket('udp4');
      await new Promise<void>((resolve) => other.bind(53, '0.0.0.0', resolve));
      server = await start();
      const blocked = await server.figures();
      assert.deepEqual(
        [blocked?.listeners, blocked?.closedListeners],
        [2, 2],
        'another name server uses the IPv4 addresses',
      );
      assert.equal(await dig(web, '@fd00:71::1 web'), webAddresses[0]);
      other.close();
      await until(async () => (await dig(web, `@${gateway(71)} +time=1 web`)) === webAddresses[0]);
      const late = pin('late');
      const [lateAddress] = await join1('late', late, 'later', 73, 'eth0', 'late');
      await until(async () => (await dig(late, `@${gateway(73)} late`)) === lateAddress);
      const listeners = async (): Promise<number | undefined> => (await server.figures())?.listeners;
      assert.equal(await listeners(), 6);
      assert.match(shell('ss -Hlun'), /10\.73\.0\.1/u);
      await del([conf(73)], { id: 'late', netns: late, network: 'later' });
      await until(() => !shell('ss -Hlun').includes('10.73.0.1'));
      const figures = await server.figures();
      assert.ok(figures !== undefined && figures.queries.answered >= 2);
    },
  );

  test(
    'networks of another host network namespace are answered there, and released when it ends',
    digs,
    async () => {
      const host = pin('host2');
      inside(host, 'ip link set lo up');
      const pod = pin('pod2');
      const fd = openSync(host, 'r');
      const of = { id: 'pod2', netns: pod, network: 'front' };
      const result = await fixture.call('add', conf(71), of, { caller: { netnsFd: fd } });
      closeSync(fd);
      assert.ok(result !== undefined);
      name(
        'pod2',
        'front',
        addresses(result).map((address): NetworkName => ({ name: 'web', address, kind: 'container' })),
      );
      const [own] = addresses(result);
      await until(async () => (await dig(pod, `@${gateway(71)} +time=1 web`)) === own);
      assert.equal(
        await dig(web, `@${gateway(71)} web`),
        webAddresses[0],
        'the same address in our own namespace belongs to another network',
      );
      const listeners = (await server.figures())?.listeners ?? 0;
      shell(`umount ${pod} ${host}`);
      await until(async () => (await server.figures())?.listeners === listeners - 2, 30_000);
    },
  );
}
