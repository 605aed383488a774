import assert from 'node:assert/strict';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { createLogger } from '../../base/log/index.ts';
import { openPluginEngine } from '../engine/engine.ts';
import { createFixture, eventually, inPrivateNetns, shell, tried } from '../engine/engine.fixture.ts';
import type { NetworkEngine } from '../types.ts';
import type { PluginCall } from '../calls/plugin-call.ts';
import type { CniResult } from '../spec/result.ts';
import { createDhcpNetwork, dhcpCall, dnsmasqProgram, withoutPrograms } from './dhcp.fixture.ts';

/** The address plugin `dhcp`, with dnsmasq as the server. */

if (inPrivateNetns(import.meta.filename, 400_000)) {
  const fixture = createFixture({
    cniVersion: '1.0.0',
    name: 'pods',
    plugins: [{ type: 'portcullis-bridge', bridge: 'dhcp0', ipam: { type: 'portcullis-dhcp' } }],
  });
  const network = createDhcpNetwork(fixture.folder);
  const skip = withoutPrograms(dnsmasqProgram);
  const ipam = { type: 'portcullis-dhcp' };
  const macvlan = { type: 'portcullis-macvlan', master: 'up0', ipam };
  let engine: NetworkEngine | undefined;
  const opened = async (): Promise<NetworkEngine> => (engine ??= await fixture.engine());

  type Conf = Readonly<Record<string, unknown>> & { readonly type: string };
  const callOf = (
    verb: PluginCall['verb'],
    conf: Conf,
    id: string,
    more: Partial<PluginCall> = {},
  ): PluginCall => dhcpCall(fixture.folder, verb, conf, id, more);
  const call = async (...values: Parameters<typeof callOf>): Promise<CniResult | undefined> =>
    (await opened()).callPlugin(callOf(...values));
  const given = (result: CniResult | undefined): CniResult => result ?? assert.fail('the ADD has no result');
  const rows = (): string[] => fixture.rows('SELECT attachment, part FROM dhcp_lease');
  const leasedAt = (): string[] =>
    fixture.rows("SELECT json_extract(document, '$.lease.obtainedAt') FROM dhcp_lease");
  const ended = (): Promise<true> => eventually(() => network.leases().length === 0 || undefined);

  const hasIpvlan =
    tried('ip link add link up0 name probe type ipvlan mode l2 && ip link delete probe') !== undefined;
  const confs: readonly Conf[] = [
    macvlan,
    { type: 'portcullis-ipvlan', master: 'up0', ipam },
    { type: 'portcullis-bridge', bridge: 'dhcp0', ipam },
  ];
  const skipOf = ({ type }: Conf): string | false =>
    type === 'portcullis-ipvlan' && !hasIpvlan ? 'the kernel has no ipvlan' : skip;
  for (const conf of confs)
    test(`ADD, CHECK and DEL with a lease: ${conf.type}`, { skip: skipOf(conf) }, async () => {
      network.startServer();
      if (conf.type === 'portcullis-bridge')
        shell('ip link add dhcp0 type bridge; ip link set dhcp0 up; ip link set up0 master dhcp0');
      const pod = fixture.pod(`pod-${conf.type}`);
      const id = `pod-${conf.type}`;
      const result = await call('add', conf, id);
      assert.match(result?.ips[0]?.address ?? '', /^10\.77\.0\.\d+\/24$/u);
      assert.equal(result?.ips[0]?.gateway, '10.77.0.1');
      assert.deepEqual(result?.routes, [{ dst: '0.0.0.0/0', gw: '10.77.0.1' }]);
      assert.deepEqual(result?.dns, { nameservers: ['10.77.0.53'] });
      const address = result?.ips[0]?.address ?? '';
      assert.ok(pod.run('ip -4 -o address show dev eth0')?.includes(` ${address} `));
      assert.match(pod.run('ip route') ?? '', /default via 10\.77\.0\.1/u);
      assert.equal(rows().length, 1);
      // The identifier of the upstream program.
      const clientId = Buffer.from(`\0${id}/net/eth0`)
        .toString('hex')
        .replaceAll(/..(?=.)/gu, '$&:');
      assert.ok(network.leases()[0]?.endsWith(` ${clientId}`));
      await call('check', conf, id, { prevResult: given(result) });
      await assert.rejects(call('add', conf, id), { code: 'NETWORK_ALREADY_ATTACHED' });
      await call('check', conf, id, { prevResult: given(result) });
      await call('del', conf, id);
      await ended();
      assert.deepEqual(rows(), []);
      assert.doesNotMatch(pod.run('ip -o link') ?? '', /eth0/u);
      await network.stopServer();
      if (conf.type === 'portcullis-bridge') shell('ip link set up0 nomaster; ip link delete dhcp0');
    });

  const quickRenewal = [
    '--dhcp-range=10.77.0.50,10.77.0.150,255.255.255.0,120',
    '--dhcp-option-force=option:T1,6',
  ];

  test('a lease is renewed in time, also by a daemon that starts again', { skip }, async () => {
    network.startServer(...quickRenewal);
    const pod = fixture.pod('renewed');
    const result = await call('add', macvlan, 'renewed');
    const [first] = leasedAt();
    await eventually(() => leasedAt()[0] !== first || undefined, 20_000);
    await engine?.close({ removeAll: false });
    engine = undefined;
    const [second] = leasedAt();
    await opened();
    await eventually(() => leasedAt()[0] !== second || undefined, 20_000);
    assert.match(network.serverLog(), /DHCPREQUEST\(srv0\) 10\.77\.0\.\d+ /u);
    await call('check', macvlan, 'renewed', { prevResult: given(result) });
    assert.ok(pod.run('ip -4 -o address show dev eth0')?.includes(` ${result?.ips[0]?.address ?? '-'} `));
    await call('del', macvlan, 'renewed');
    await ended();
    await network.stopServer();
  });

  test('the lease of a pod whose namespace is gone is released by DEL, and by GC', { skip }, async () => {
    network.startServer();
    for (const id of ['dead', 'collected']) {
      fixture.pod(id);
      await call('add', macvlan, id);
      shell(`umount ${fixture.folder}/netns/${id}`);
    }
    await call('del', macvlan, 'dead');
    await eventually(() => network.leases().length === 1 || undefined);
    await call('gc', macvlan, '', { valid: [] });
    await ended();
    assert.deepEqual(rows(), []);
    await network.stopServer();
  });

  test('without a server an ADD fails in time, others go on, and DEL ends it at once', { skip }, async () => {
    fixture.pod('unserved');
    const started = performance.now();
    let isOver = false;
    const failing = assert
      .rejects(call('add', macvlan, 'unserved'), { code: 'NETWORK_DHCP_NO_LEASE' })
      .finally(() => (isOver = true));
    const other = fixture.pod('meanwhile');
    const fixed = { ...macvlan, ipam: { type: 'static', addresses: [{ address: '10.77.0.9/24' }] } };
    await call('add', fixed, 'meanwhile');
    await call('del', fixed, 'meanwhile');
    assert.equal(isOver, false);
    await failing;
    assert.ok(performance.now() - started < 25_000);
    assert.doesNotMatch(other.run('ip -o link') ?? '', /eth0/u);
    assert.deepEqual(rows(), []);
    assert.deepEqual(fixture.rows('SELECT number FROM attachment'), []);
    const again = performance.now();
    const cancelled = assert.rejects(call('add', macvlan, 'unserved'), { code: 'NETWORK_DHCP_NO_LEASE' });
    await eventually(() => rows().length === 1 || undefined);
    await call('del', macvlan, 'unserved');
    await cancelled;
    assert.ok(performance.now() - again < 5000);
    assert.deepEqual(rows(), []);
  });

  test('a daemon that was killed during an ADD removes what it left', { skip }, async () => {
    const pod = fixture.pod('killed');
    const interrupted = call('add', macvlan, 'killed').catch(() => undefined);
    await eventually(() => rows().length === 1 || undefined);
    await engine?.close({ removeAll: false });
    await interrupted;
    engine = undefined;
    await opened();
    assert.deepEqual(rows(), []);
    assert.doesNotMatch(pod.run('ip -o link') ?? '', /eth0/u);
  });

  test('fields of the upstream program', { skip }, async () => {
    network.startServer();
    fixture.pod('fields');
    const withFields = (fields: object): Conf => ({ ...macvlan, ipam: { ...ipam, ...fields } });
    const conf = withFields({
      request: [{ skipDefault: true, option: 'subnet-mask' }, { option: '3' }],
      provide: [
        { option: 'host-name', fromArg: 'K8S_POD_NAME' },
        { option: '60', value: 'pods' },
      ],
      priority: 50,
    });
    const result = await call('add', conf, 'fields', { args: { K8S_POD_NAME: 'web-1' } });
    assert.deepEqual(result?.routes, [{ dst: '0.0.0.0/0', gw: '10.77.0.1', priority: 50 }]);
    assert.deepEqual(result?.dns, {});
    assert.match(network.leases()[0] ?? '', / web-1 /u);
    assert.match(network.serverLog(), /vendor class: pods/u);
    await call('check', conf, 'fields', { prevResult: given(result) });
    await call('del', conf, 'fields');
    await ended();
    await network.stopServer();
    await assert.rejects(call('add', withFields({ daemonSocketPath: '/run/cni/dhcp.sock' }), 'fields'), {
      code: 'NETWORK_FIELD_UNSUPPORTED',
    });
    for (const wrong of [
      { request: [{ option: 'nothing' }] },
      { request: [{ option: '255' }] },
      { provide: [{ option: '53', value: 'x' }] },
      { provide: [{ option: '12' }] },
      { priority: -1 },
      { subnet: '10.0.0.0/24' },
    ])
      await assert.rejects(call('add', withFields(wrong), 'fields'), { code: 'NETWORK_CONFIG_INVALID' });
  });

  test('a third-party plugin that created the interface gets a lease', { skip }, async () => {
    network.startServer();
    const pod = fixture.pod('alone');
    shell(
      `ip link add link up0 name tmp0 type macvlan mode bridge; ip link set tmp0 netns ${fixture.folder}/netns/alone`,
    );
    pod.run('ip link set tmp0 name eth0 up');
    const conf = { type: 'portcullis-dhcp', ipam };
    const result = await call('add', conf, 'alone');
    assert.match(result?.ips[0]?.address ?? '', /^10\.77\.0\.\d+\/24$/u);
    assert.deepEqual(result?.routes, [{ dst: '0.0.0.0/0', gw: '10.77.0.1' }]);
    assert.equal(rows().length, 1);
    await call('check', conf, 'alone', { prevResult: given(result) });
    await call('del', conf, 'alone');
    await ended();
    assert.deepEqual(rows(), []);
    pod.run('ip link delete eth0');
    // The upstream program would call itself.
    await assert.rejects(call('add', { type: 'portcullis-dhcp', ipam: { type: 'dhcp' } }, 'alone'), {
      code: 'NETWORK_CONFIG_INVALID',
    });
    await network.stopServer();
  });

  test('an ADD that cannot be recorded gives its lease back', { skip }, async () => {
    network.startServer();
    const pod = fixture.pod('unrecorded');
    await opened();
    const db = new DatabaseSync(fixture.databasePath, { timeout: 5000 });
    db.exec(
      `CREATE TRIGGER full BEFORE UPDATE ON dhcp_lease BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`,
    );
    await assert.rejects(call('add', macvlan, 'unrecorded'));
    assert.match(network.serverLog(), /DHCPACK/u);
    await ended();
    assert.doesNotMatch(pod.run('ip -o link') ?? '', /eth0/u);
    assert.deepEqual(rows(), []);
    db.exec('DROP TRIGGER full');
    db.close();
    await network.stopServer();
  });

  test(
    'a pod of our own runtime gets a lease, and keeps it, on a bridge with its link rules',
    { skip },
    async () => {
      network.startServer(...quickRenewal);
      shell('ip link add dhcp0 type bridge; ip link set dhcp0 up; ip link set up0 master dhcp0');
      const pod = fixture.pod('own');
      const runtime = await opened();
      const attachment = await runtime.attach(pod.request);
      assert.match(attachment.ips[0]?.address ?? '', /^10\.77\.0\.\d+\/24$/u);
      // Without a class the link denies everything, and so the renewal.
      await runtime.setClass(attachment.id, 'user');
      const [first] = leasedAt();
      await eventually(() => leasedAt()[0] !== first || undefined, 20_000);
      await runtime.detach(attachment.id);
      await ended();
      assert.deepEqual(rows(), []);
      shell('ip link set up0 nomaster; ip link delete dhcp0');
      await network.stopServer();
    },
  );

  test('without the daemon an ADD is refused, and a DEL releases the lease', { skip }, async () => {
    network.startServer();
    fixture.pod('alone-del');
    const result = await call('add', macvlan, 'alone-del');
    await engine?.close({ removeAll: false });
    engine = undefined;
    const { callPlugin, close } = openPluginEngine({
      databasePath: fixture.databasePath,
      log: createLogger({ level: 'error' }),
    });
    fixture.pod('refused');
    const of = (verb: PluginCall['verb'], id: string): Promise<CniResult | undefined> =>
      callPlugin(callOf(verb, macvlan, id, { prevResult: given(result) }));
    await assert.rejects(of('add', 'refused'), { code: 'NETWORK_DHCP_NEEDS_DAEMON' });
    await assert.rejects(of('status', 'refused'), { code: 'NETWORK_NOT_AVAILABLE' });
    await of('check', 'alone-del');
    await of('del', 'alone-del');
    await ended();
    assert.deepEqual(rows(), []);
    await close();
    await network.stopServer();
  });

  test('end', async () => {
    await engine?.close({ removeAll: true });
    await network.end();
    fixture.end();
  });
}
