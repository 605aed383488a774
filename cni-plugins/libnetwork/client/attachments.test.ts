import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { DatabaseSync } from 'node:sqlite';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { createLogger } from '../../../base/log/index.ts';
import { openPluginEngine } from '../../engine/engine.ts';
import { createFixture, eventually, inPrivateNetns, shell } from '../../engine/engine.fixture.ts';
import type { Pod } from '../../engine/engine.fixture.ts';
import type { PluginCall } from '../../calls/plugin-call.ts';
import type { CniResult } from '../../spec/result.ts';
import { createTestDriver } from './driver.fixture.ts';

/**
 * The plugin against a driver in this process, on the real kernel: order of the verbs, and what a failure or
 * a crash leaves.
 */
if (inPrivateNetns(import.meta.filename)) {
  const fixture = createFixture();
  const sockets = join(fixture.folder, 'plugins');
  mkdirSync(sockets);
  const log = createLogger({ level: 'error' });
  let engine = openPluginEngine({ databasePath: fixture.databasePath, log });
  const drivers: ReturnType<typeof createTestDriver>[] = [];
  after(async () => {
    await engine.close();
    for (const driver of drivers) await driver.close();
    fixture.end();
  });
  const start = async (
    name: string,
    options?: Parameters<typeof createTestDriver>[1],
  ): Promise<ReturnType<typeof createTestDriver>> => {
    const driver = createTestDriver(join(sockets, `${name}.sock`), options);
    drivers.push(driver);
    await driver.listen();
    return driver;
  };
  const callOf = (
    verb: PluginCall['verb'],
    pod: Pod,
    config: object,
    more: Partial<PluginCall> = {},
  ): PluginCall => ({
    verb,
    type: 'portcullis-cnm',
    caller: {},
    key: { network: 'far', containerId: pod.request.id, interface: 'eth0' },
    netns: pod.request.netns,
    args: {},
    path: [],
    config: JSON.stringify({
      cniVersion: '1.1.0',
      name: 'far',
      type: 'portcullis-cnm',
      socketDirs: [sockets],
      timeout: 2,
      ...config,
    }),
    ...more,
  });
  const call = (...args: Parameters<typeof callOf>): Promise<CniResult | undefined> =>
    engine.callPlugin(callOf(...args));
  const failure = async (...args: Parameters<typeof callOf>): Promise<{ code: string; message: string }> => {
    try {
      await call(...args);
    } catch (thrown) {
      if (isPortcullisError(thrown)) return { code: thrown.code, message: thrown.message };
      throw thrown;
    }
    return { code: 'none', message: '' };
  };
  const rows = (table: string): number => {
    const db = new DatabaseSync(fixture.databasePath, { readOnly: true });
    try {
      return (db.prepare(`SELECT count(*) AS n FROM ${table}`).get() as { n: number }).n;
    } finally {
      db.close();
    }
  };
  const nothingLeft = (driver: ReturnType<typeof createTestDriver>): void => {
    assert.deepEqual(driver.held(), []);
    for (const table of ['attachment', 'part', 'lease', 'remote_network', 'remote_endpoint', 'name'])
      assert.equal(rows(table), 0, table);
    assert.doesNotMatch(shell('ip -o link'), /: t[hp]/u);
  };
  const ipam = {
    type: 'portcullis-ipam',
    ranges: [[{ subnet: '10.70.0.0/24' }], [{ subnet: 'fd00:70::/64' }]],
  };
  const verbsOf = (driver: ReturnType<typeof createTestDriver>): string[] =>
    driver.calls
      .splice(0)
      .map((each) => each.replace(/^(?:NetworkDriver|IpamDriver|Plugin)\.(\w+).*$/u, '$1'));

  test('ADD, CHECK and DEL with our addresses use the verbs in the order of libnetwork, and one network for two pods', async () => {
    const driver = await start('strict', { gateway: '10.70.0.1' });
    const [a, b] = [fixture.pod('a'), fixture.pod('b')];
    const config = {
      driver: 'strict',
      driverOptions: { mode: 'x' },
      ipam,
      mtu: 1400,
      runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80 }], aliases: ['Front'] },
    };
    const result = await call('add', a, config, {
      args: { K8S_POD_NAME: 'shop', K8S_POD_NAMESPACE: 'default' },
    });
    assert.deepEqual(verbsOf(driver), [
      'Activate',
      'CreateNetwork',
      'CreateEndpoint',
      'Join',
      'ProgramExternalConnectivity',
    ]);
    const created = driver.last('NetworkDriver.CreateNetwork');
    assert.match(String(created['NetworkID']), /^[0-9a-f]{64}$/u);
    assert.deepEqual(created['IPv4Data'], [
      { AddressSpace: '', Pool: '10.70.0.0/24', Gateway: '10.70.0.1/24' },
    ]);
    assert.deepEqual(created['IPv6Data'], [
      { AddressSpace: '', Pool: 'fd00:70::/64', Gateway: 'fd00:70::1/64' },
    ]);
    assert.deepEqual((created['Options'] as Record<string, unknown>)['com.docker.network.generic'], {
      mode: 'x',
      'com.docker.network.driver.mtu': '1400',
    });
    const port = [{ Proto: 6, IP: '', Port: 80, HostIP: '', HostPort: 8080, HostPortEnd: 8080 }];
    const { Options: reported } = driver.last('NetworkDriver.ProgramExternalConnectivity') as {
      Options: Record<string, unknown>;
    };
    assert.deepEqual(reported['com.docker.network.portmap'], port);
    assert.deepEqual(
      result?.ips.map(({ address, gateway }) => [address, gateway]),
      [
        ['10.70.0.2/24', '10.70.0.1'],
        ['fd00:70::2/64', undefined],
      ],
    );
    const inside = a.run("sh -c 'ip -o addr show eth0; ip route; ip -o link show eth0'") ?? '';
    assert.match(inside, /inet 10\.70\.0\.2\/24/u);
    assert.match(inside, /inet6 fd00:70::2\/64/u);
    assert.match(inside, /default via 10\.70\.0\.1 dev eth0/u);
    assert.match(inside, /192\.0\.2\.0\/24 via 10\.70\.0\.1/u);
    assert.match(inside, /mtu 1400/u);
    const db = new DatabaseSync(fixture.databasePath, { readOnly: true });
    const names = (
      db.prepare('SELECT DISTINCT name, kind FROM name ORDER BY name').all() as {
        name: string;
        kind: string;
      }[]
    ).map(({ name, kind }) => `${name} ${kind}`);
    db.close();
    assert.deepEqual(
      names,
      ['a00000000000 container', 'front alias', 'shop container', 'shop.default container'].toSorted(),
    );

    await call('add', b, { ...config, runtimeConfig: {} });
    assert.deepEqual(verbsOf(driver), ['Activate', 'CreateEndpoint', 'Join', 'ProgramExternalConnectivity']);
    assert.equal((await failure('add', b, config)).code, 'NETWORK_ALREADY_ATTACHED');
    assert.equal(
      (await failure('add', fixture.pod('c'), { ...config, driverOptions: {} })).code,
      'NETWORK_CNM_NETWORK_CHANGED',
    );
    verbsOf(driver);

    await call('check', a, config, { prevResult: result });
    assert.deepEqual(verbsOf(driver), ['Activate', 'EndpointOperInfo']);
    a.run('ip addr del 10.70.0.2/24 dev eth0');
    assert.match(
      (await failure('check', a, config, { prevResult: result })).message,
      /no address 10\.70\.0\.2/u,
    );
    verbsOf(driver);

    await call('del', a, config);
    assert.deepEqual(verbsOf(driver), ['Activate', 'RevokeExternalConnectivity', 'Leave', 'DeleteEndpoint']);
    assert.equal(a.run('ip link show eth0'), undefined);
    await call('del', b, config);
    assert.deepEqual(verbsOf(driver), [
      'Activate',
      'RevokeExternalConnectivity',
      'Leave',
      'DeleteEndpoint',
      'DeleteNetwork',
    ]);
    await call('del', b, config);
    assert.deepEqual(verbsOf(driver), []);
    nothingLeft(driver);
  });

  test('ADD uses the addresses and the MAC address of the IPAM driver', async () => {
    const driver = await start('own', { gateway: '10.77.0.1' });
    const pod = fixture.pod('d');
    const config = {
      driver: 'own',
      ipam: { type: 'cnm', pools: [{ pool: '10.77.0.0/24', gateway: '10.77.0.1' }] },
    };
    const result = await call('add', pod, config, { args: { IP: '10.77.0.9' } });
    assert.deepEqual(result?.ips, [{ address: '10.77.0.9/24', gateway: '10.77.0.1', interface: 0 }]);
    assert.match(pod.run('ip -o link show eth0') ?? '', new RegExp(result.interfaces[0]?.mac ?? 'none', 'u'));
    assert.deepEqual(
      driver.held().filter((each) => !/network|endpoint|join|ports/u.test(each)),
      ['address 10.77.0.1', 'address 10.77.0.9', 'pool 10.77.0.0/24'],
    );
    await call('del', pod, config);
    nothingLeft(driver);
  });

  test('the pod gets what the driver chooses; a value that was chosen before cannot be chosen again', async () => {
    const driver = await start('chooser', {
      chosen: { Address: '10.78.0.4/24', MacAddress: '02:00:00:00:00:4e' },
    });
    const pod = fixture.pod('e');
    const result = await call('add', pod, { driver: 'chooser' });
    assert.deepEqual(result?.ips, [{ address: '10.78.0.4/24', interface: 0 }]);
    assert.equal(result.interfaces[0]?.mac, '02:00:00:00:00:4e');
    assert.deepEqual(driver.last('NetworkDriver.CreateNetwork')['IPv4Data'], [
      { AddressSpace: 'null', Pool: '0.0.0.0/0' },
    ]);
    await call('del', pod, { driver: 'chooser' });
    assert.equal((await failure('add', pod, { driver: 'chooser', ipam })).code, 'NETWORK_CNM_PROTOCOL');
    nothingLeft(driver);
  });

  test('if a verb refuses, does not answer or answers nonsense, the error names driver and verb, and nothing is left', async () => {
    const driver = await start('moody', { gateway: '10.70.0.1' });
    const pod = fixture.pod('f');
    const own = { driver: 'moody', ipam: { type: 'cnm', pools: [{ pool: '10.79.0.0/24' }] } };
    const ways = [
      [{ status: 500, text: '{"Err":"not today"}' }, 'NETWORK_CNM_DRIVER_REFUSED', /not today/u],
      [{ status: 200, text: '{"Err":"not today"}' }, 'NETWORK_CNM_DRIVER_REFUSED', /not today/u],
      [{ status: 200, text: 'hello' }, 'NETWORK_CNM_PROTOCOL', /not a JSON object/u],
      [{ status: 404, text: '' }, 'NETWORK_CNM_VERB_UNKNOWN', /404/u],
    ] as const;
    for (const verb of [
      'IpamDriver.RequestPool',
      'IpamDriver.RequestAddress',
      'NetworkDriver.CreateNetwork',
      'NetworkDriver.CreateEndpoint',
      'NetworkDriver.Join',
    ]) {
      for (const [how, code, why] of ways) {
        driver.answer(verb, how);
        const reported = await failure('add', pod, own);
        assert.equal(reported.code, code, `${verb}: ${reported.message}`);
        assert.ok(reported.message.includes(verb) && reported.message.includes('moody'), reported.message);
        assert.match(reported.message, why);
        driver.answer(verb, undefined);
        nothingLeft(driver);
      }
    }
    driver.answer('NetworkDriver.Join', { status: 200, text: '{"InterfaceName":{"SrcName":"../x"}}' });
    assert.equal((await failure('add', pod, own)).code, 'NETWORK_CNM_PROTOCOL');
    driver.answer('NetworkDriver.Join', { status: 200, text: '{"InterfaceName":{"SrcName":"nowhere"}}' });
    assert.equal((await failure('add', pod, own)).code, 'NETWORK_DEVICE_MISSING');
    driver.answer('NetworkDriver.Join', undefined);
    driver.answer('NetworkDriver.CreateEndpoint', 'never');
    assert.equal((await failure('add', pod, { ...own, timeout: 1 })).code, 'NETWORK_CNM_DRIVER_UNREACHABLE');
    driver.answer('NetworkDriver.CreateEndpoint', undefined);
    nothingLeft(driver);
    driver.answer('Plugin.Activate', { status: 200, text: '{"Implements":["VolumeDriver"]}' });
    assert.match(
      (await failure('add', pod, own)).message,
      /VolumeDriver.*; name a driver of (?:addresses in ipam\.driver|networks in driver)/u,
    );
    driver.answer('Plugin.Activate', { status: 200, text: '{"Implements":["NetworkDriver"]}' });
    assert.match(
      (await failure('add', pod, own)).message,
      /not IpamDriver; name a driver of addresses in ipam\.driver/u,
    );
    driver.answer('Plugin.Activate', undefined);
    nothingLeft(driver);
  });

  test('an IPAM plugin that is missing, or fails at ADD and DEL, leaves nothing of the failed ADD', async () => {
    const driver = await start('plain');
    const [pod, other] = [fixture.pod('p'), fixture.pod('q')];
    const bin = join(fixture.folder, 'bin');
    mkdirSync(bin);
    writeFileSync(join(bin, 'failing'), `#!/bin/sh\necho '{"code":11,"msg":"try later"}'\nexit 1\n`, {
      mode: 0o755,
    });
    await call('add', other, { driver: 'plain' });
    for (const [type, why] of [
      ['nowhere', /no program of that name/u],
      ['failing', /try later/u],
    ] as const) {
      const reported = await failure('add', pod, { driver: 'plain', ipam: { type } }, { path: [bin] });
      assert.equal(reported.code, 'NETWORK_IPAM_FAILED');
      assert.match(reported.message, why);
      assert.equal(rows('remote_endpoint'), 1, type);
    }
    await call('del', other, { driver: 'plain' });
    nothingLeft(driver);
  });

  test('an address plugin that fails at DEL keeps only its lease: the driver’s endpoint is deleted, and DEL fails until the lease is released', async () => {
    const driver = await start('leased');
    const pod = fixture.pod('r');
    const bin = join(fixture.folder, 'bin-r');
    mkdirSync(bin);
    const program = (body: string): void =>
      writeFileSync(join(bin, 'given'), `#!/bin/sh\n${body}\n`, { mode: 0o755 });
    const config = { driver: 'leased', ipam: { type: 'given' } };
    program(
      `[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.1.0","ips":[{"address":"10.71.0.5/24"}]}'; exit 0`,
    );
    await call('add', pod, config, { path: [bin] });
    program(`echo '{"code":11,"msg":"try later"}'; exit 1`);
    for (let again = 0; again < 2; again += 1) {
      const reported = await failure('del', pod, config, { path: [bin] });
      assert.match(`${reported.code} ${reported.message}`, /NETWORK_IPAM_FAILED .*try later/u);
      assert.deepEqual(
        driver.held().filter((each) => !each.startsWith('network ')),
        [],
      );
      assert.equal(pod.run('ip link show eth0'), undefined);
    }
    program('exit 0');
    await call('del', pod, config, { path: [bin] });
    nothingLeft(driver);
  });

  test('DEL fails until a stopped driver is back, and an uninstalled driver does not block DEL', async () => {
    const driver = await start('away', { gateway: '10.70.0.1' });
    const [g, h] = [fixture.pod('g'), fixture.pod('h')];
    const config = { driver: 'away', ipam };
    await call('add', g, config);
    await call('add', h, config);
    driver.answer('NetworkDriver.Leave', 'never');
    assert.equal((await failure('del', g, { ...config, timeout: 1 })).code, 'NETWORK_CNM_DRIVER_UNREACHABLE');
    driver.answer('NetworkDriver.Leave', undefined);
    await call('del', g, config);
    await driver.close();
    // Neither socket nor file exists, so the driver is gone. The pod is removed, and what the driver holds
    // stays recorded.
    await call('del', h, config);
    assert.equal(h.run('ip link show eth0'), undefined);
    assert.equal(rows('remote_endpoint'), 1);
    assert.match((await failure('status', h, config)).code, /NETWORK_NOT_AVAILABLE/u);
    await driver.listen();
    await call('gc', h, config, { valid: [] });
    nothingLeft(driver);
    await call('status', h, config);
  });

  test('a driver that does not delete is asked three times; GC keeps valid attachments and those of our pods', async () => {
    const driver = await start('sticky', { gateway: '10.70.0.1' });
    const [i, j] = [fixture.pod('i'), fixture.pod('j')];
    const config = { driver: 'sticky', ipam };
    await call('add', i, config);
    await call('add', j, config);
    await call('gc', i, config, { valid: [{ containerId: i.request.id, interface: 'eth0' }] });
    assert.ok(i.run('ip link show eth0') !== undefined);
    assert.equal(rows('remote_endpoint'), 1);
    // Another runtime does not list a pod of ours.
    const db = new DatabaseSync(fixture.databasePath);
    db.exec(
      `INSERT INTO attachment (realm, origin, network, container_id, interface, state, class, host_interface, spec)
       VALUES ('here', 'pod', 'far', '${i.request.id}', 'eth0', 'ready', 'admin', 'own', '{}')`,
    );
    await call('gc', i, config, { valid: [] });
    db.exec("DELETE FROM attachment WHERE host_interface = 'own'");
    db.close();
    assert.ok(i.run('ip link show eth0') !== undefined);
    driver.answer('NetworkDriver.DeleteEndpoint', { status: 500, text: '{"Err":"busy"}' });
    for (const code of ['NETWORK_CNM_DRIVER_REFUSED', 'NETWORK_CNM_DRIVER_REFUSED', 'none'])
      assert.equal((await failure('del', i, config)).code, code);
    assert.equal(rows('remote_endpoint'), 0);
    assert.equal(rows('lease'), 0);
    // Its links belong to the driver, which keeps them.
    shell("ip -o link | sed -n 's/.*: \\(th[0-9a-f]*\\)@.*/\\1/p' | xargs -n1 ip link del");
  });

  test('leftovers of a process that died during a request are removed by the next call', async () => {
    const driver = await start('mortal', { gateway: '10.70.0.1' });
    const [k, l] = [fixture.pod('k'), fixture.pod('l')];
    const config = { driver: 'mortal', ipam };
    for (const verb of [
      'NetworkDriver.CreateNetwork',
      'NetworkDriver.CreateEndpoint',
      'NetworkDriver.Join',
      'NetworkDriver.ProgramExternalConnectivity',
    ]) {
      // The request is in progress when the engine's thread ends, so nothing can be recorded any more, as
      // after kill -9.
      driver.answer(verb, 'never');
      const lost = failure('add', k, { ...config, timeout: 1 });
      await eventually(() => (driver.calls.some((each) => each.startsWith(verb)) ? true : undefined), 20_000);
      await engine.close();
      assert.notEqual((await lost).code, 'none');
      driver.calls.length = 0;
      driver.answer(verb, undefined);
      engine = openPluginEngine({ databasePath: fixture.databasePath, log });
      await call('add', l, config);
      assert.equal(rows('remote_endpoint'), 1, verb);
      assert.equal(k.run('ip link show eth0'), undefined);
      await call('del', k, config);
      await call('del', l, config);
      nothingLeft(driver);
    }
  });

  test('an object that the driver removed before its answer was lost causes no error: the next DEL succeeds, and so does ADD', async () => {
    const driver = await start('unheard', { gateway: '10.78.0.1' });
    const [m, n] = [fixture.pod('m'), fixture.pod('n')];
    const config = {
      driver: 'unheard',
      ipam: { type: 'cnm', driver: 'unheard', pools: [{ pool: '10.78.0.0/24', gateway: '10.78.0.1' }] },
    };
    for (const verb of [
      'NetworkDriver.RevokeExternalConnectivity',
      'NetworkDriver.Leave',
      'NetworkDriver.DeleteEndpoint',
      'IpamDriver.ReleaseAddress',
      'NetworkDriver.DeleteNetwork',
      'IpamDriver.ReleasePool',
    ])
      for (const next of [[m], [n, m]]) {
        await call('add', m, config);
        driver.answer(verb, 'done');
        // A process that is killed at this point leaves the same record.
        await failure('del', m, config);
        driver.answer(verb, undefined);
        for (const pod of next) {
          if (pod === n) await call('add', n, config);
          await call('del', pod, config);
        }
        nothingLeft(driver);
      }
  });

  for (const table of ['remote_endpoint', 'remote_network'])
    test(`a damaged row of ${table} costs no other pod, and its pods can be removed`, async () => {
      const driver = await start(`hurt-${table}`, { gateway: '10.70.0.1' });
      const config = { driver: `hurt-${table}`, ipam };
      const pod = (name: string): Pod => fixture.pod(`${name}-${table}`);
      const [o, p, q] = [pod('o'), pod('p'), pod('q')];
      const prevResult = await call('add', o, config);
      const db = new DatabaseSync(fixture.databasePath);
      assert.equal(db.prepare(`UPDATE ${table} SET document = substr(document, 1, 20)`).run().changes, 1);
      db.close();
      await engine.close();
      engine = openPluginEngine({ databasePath: fixture.databasePath, log });
      await call('add', p, config);
      await call('check', o, config, prevResult === undefined ? {} : { prevResult });
      await call('del', p, config);
      assert.ok(o.run('ip link show eth0') !== undefined);
      await call('add', q, config);
      await call('gc', q, config, { valid: [{ containerId: q.request.id, interface: 'eth0' }] });
      assert.equal(o.run('ip link show eth0'), undefined);
      await call('del', q, config);
      nothingLeft(driver);
    });

  test('a pod that gave its link a name that the host has is removed', async () => {
    const driver = await start('named', { gateway: '10.70.0.1' });
    const pod = fixture.pod('named');
    await call('add', pod, { driver: 'named', ipam });
    shell('ip link add taken type ifb');
    assert.notEqual(pod.run('ip link property add dev eth0 altname taken'), undefined);
    await call('del', pod, { driver: 'named', ipam });
    shell('ip link del taken');
    nothingLeft(driver);
  });

  test('the examples of docs/cnm.md are valid', async () => {
    const driver = await start('example-driver', { gateway: 'own' });
    const document = readFileSync(new URL('../../../docs/cnm.md', import.meta.url), 'utf8');
    const examples = [...document.matchAll(/```json\n([^]*?)```/gu)].map(
      ([, text = '{}']) => JSON.parse(text) as { plugins: object[] },
    );
    assert.equal(examples.length, 2);
    for (const [index, { plugins }] of examples.entries()) {
      const pod = fixture.pod(`example${index}`);
      const config = { ...plugins[0] };
      const result = await call('add', pod, config);
      assert.match(result?.ips[0]?.address ?? '', /^10\.12[01]\.0\.\d+\/24$/u);
      await call('check', pod, config, result === undefined ? {} : { prevResult: result });
      await call('del', pod, config);
      nothingLeft(driver);
    }
  });
}
