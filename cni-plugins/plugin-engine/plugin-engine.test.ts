import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { inPrivateNetns, shell, tried } from '../engine/engine.fixture.ts';
import { bridgeConf, createPluginFixture, portmapConf } from './plugin-engine.fixture.ts';
import type { Of, PluginFixture } from './plugin-engine.fixture.ts';

const coded =
  (code: string, words = /(?:)/u) =>
  (thrown: unknown) => {
    assert.ok(isPortcullisError(thrown), String(thrown));
    assert.equal(thrown.code, code, thrown.message);
    assert.match(thrown.message, words);
    return true;
  };

if (inPrivateNetns(import.meta.filename)) {
  let fixture: PluginFixture;
  before(() => {
    fixture = createPluginFixture();
  });
  after(() => fixture.end());

  const rows = (): Record<string, number> => {
    const db = new DatabaseSync(fixture.databasePath, { readOnly: true });
    const count = (table: string): number =>
      (db.prepare(`SELECT count(*) AS n FROM ${table}`).get() as { n: number }).n;
    const found = {
      attachment: count('attachment'),
      part: count('part'),
      lease: count('lease'),
      host_port: count('host_port'),
    };
    db.close();
    return found;
  };
  const nothing = { attachment: 0, part: 0, lease: 0, host_port: 0 };

  test('a chain is added, checked and deleted; only the bridge stays', async () => {
    const pod = { id: 'one', netns: fixture.pin('one') };
    const chain = [
      bridgeConf(),
      portmapConf({ hostPort: 8080, containerPort: 80, protocol: 'tcp' }),
      { type: 'loopback' },
    ];
    const result = await fixture.add(chain, pod);
    assert.deepEqual(
      result.ips.map(({ address, gateway }) => [address, gateway]),
      [
        ['10.90.0.2/24', '10.90.0.1'],
        ['fd00:90::2/64', 'fd00:90::1'],
      ],
    );
    assert.match(fixture.inside(pod.netns, 'ip addr show eth0') ?? '', /10\.90\.0\.2\/24[^]*fd00:90::2\/64/u);
    assert.equal(fixture.inside(pod.netns, 'busybox ping -c1 -W1 10.90.0.1 >/dev/null && echo up'), 'up\n');
    assert.equal(fixture.inside(pod.netns, 'busybox ping -c1 -W1 fd00:90::1 >/dev/null && echo up'), 'up\n');
    await fixture.check(chain, pod, result);
    await assert.rejects(fixture.call('add', bridgeConf(), pod), coded('NETWORK_ALREADY_ATTACHED'));
    await fixture.del(chain, pod);
    assert.equal(fixture.inside(pod.netns, 'ip link show eth0'), undefined);
    assert.deepEqual(rows(), nothing);
    assert.doesNotMatch(shell('nft list ruleset'), /10\.90\.0\.2|8080|leaving_|returning_/u);
    await fixture.del(chain, pod);
  });

  test('the last two pods of a separated bridge are deleted at the same time; its separation ends with them', async () => {
    const firewall = { type: 'portcullis-firewall', ingressPolicy: 'same-bridge', backend: 'nftables' };
    const chain = [bridgeConf({ bridge: 'sep0' }), firewall];
    const pods = ['left', 'right', 'stays'].map((id) => ({ id, netns: fixture.pin(id), network: 'apart' }));
    for (const pod of pods) await fixture.add(chain, pod);
    const [left, right, stays] = pods as [Of, Of, Of];
    for (const pod of [left, right]) await fixture.call('del', firewall, pod);
    assert.match(shell('nft list ruleset'), /sep0/u, 'a pod that is still attached is kept apart');
    for (const pod of [left, right]) await fixture.call('del', chain[0] ?? firewall, pod);
    await fixture.add(chain, left);
    // The link of each exists while the rules of the other are removed.
    for (const pod of [left, stays]) await fixture.call('del', firewall, pod);
    for (const pod of [left, stays]) await fixture.call('del', chain[0] ?? firewall, pod);
    assert.doesNotMatch(shell('nft list ruleset'), /sep0/u);
    assert.deepEqual(rows(), nothing);
  });

  test('CHECK describes every difference, and STATUS repairs it', async () => {
    const pod = { id: 'drift', netns: fixture.pin('drift') };
    const chain = [bridgeConf(), portmapConf({ hostPort: 8081, containerPort: 80 })];
    const result = await fixture.add(chain, pod);
    const host = result.interfaces[1]?.name ?? '';
    const own = result.ips[0]?.address ?? '';
    const rowsOf: [break_: string, words: RegExp][] = [
      [`nsenter --net=${pod.netns} ip addr del ${own} dev eth0`, /eth0 has no address 10\.90\.0/u],
      [`nsenter --net=${pod.netns} ip link set eth0 down`, /eth0 is down/u],
      [`ip link set ${host} nomaster`, /is not on the bridge br0/u],
      [`ip link set ${host} down`, /pc[0-9a-f]{12} is down/u],
      [`ip link set ${host} mtu 1400`, /has the MTU 1400, not 1500/u],
      [`ip link del ${host}`, /the host has no link pc/u],
      ['ip addr del 10.90.0.1/24 dev br0', /the bridge br0 has no address 10\.90\.0\.1\/24/u],
      ['ip link set br0 down', /the bridge br0 is down/u],
      ['echo 0 > /proc/sys/net/ipv4/ip_forward', /ip_forward is off/u],
      ['nft delete table ip portcullis_plugins', /nf_tables has no masquerade of 10\.90\.0/u],
    ];
    for (const [break_, words] of rowsOf) {
      shell(break_);
      await assert.rejects(
        fixture.call('check', bridgeConf(), pod, { prevResult: result }),
        coded('NETWORK_DIFFERS', words),
        break_,
      );
      await assert.rejects(fixture.checkAtOnce(chain, pod, result), coded('NETWORK_DIFFERS', words), break_);
      await fixture.call('status', bridgeConf(), { ...pod, id: '', name: '', netns: '' });
      await fixture.check(chain, pod, result);
    }
    // Nothing that the bridge created is missing.
    shell('nft flush map ip portcullis_plugins any_host_ports');
    await fixture.check([bridgeConf()], pod, result);
    await assert.rejects(
      fixture.checkAtOnce(chain, pod, result),
      coded('NETWORK_DIFFERS', /no host port 8081\/tcp/u),
    );
    const other = { ...pod, id: 'never added' };
    await assert.rejects(fixture.checkAtOnce(chain, other, result), coded('NETWORK_NOT_ATTACHED'));
    await fixture.del(chain, pod);
  });

  test('a pod gets several interfaces of two networks', async () => {
    const netns = fixture.pin('multi');
    const one = { id: 'multi', netns };
    const two = { id: 'multi', netns, name: 'net1', network: 'second' };
    const second = bridgeConf({
      bridge: 'br1',
      isDefaultGateway: false,
      isGateway: true,
      ipam: { type: 'host-local', subnet: '10.91.0.0/24' },
    });
    const three = { ...one, name: 'eth1' };
    await fixture.add([bridgeConf()], one);
    await fixture.add([second], two);
    await fixture.add([bridgeConf({ isDefaultGateway: false, isGateway: true })], three);
    assert.match(
      fixture.inside(netns, 'ip -br addr') ?? '',
      /eth0@.*10\.90\.0[^]*net1@.*10\.91\.0[^]*eth1@.*10\.90\.0/u,
    );
    await fixture.call('gc', second, { ...two, id: '', name: '' }, { valid: [] });
    assert.equal(fixture.inside(netns, 'ip link show net1'), undefined);
    await fixture.call(
      'gc',
      bridgeConf(),
      { ...one, id: '', name: '' },
      { valid: [{ containerId: 'multi', interface: 'eth1' }] },
    );
    assert.equal(fixture.inside(netns, 'ip link show eth0'), undefined);
    assert.ok(fixture.inside(netns, 'ip link show eth1'));
    await fixture.del([bridgeConf()], three);
    assert.deepEqual(rows(), nothing);
  });

  test('requested addresses, addresses in the store of upstream, and ranges of the runtime are handled', async () => {
    const dataDir = join(fixture.folder, 'networks');
    mkdirSync(join(dataDir, 'net'), { recursive: true });
    writeFileSync(join(dataDir, 'net', '10.92.0.2'), 'old\neth0');
    const conf = (more: Record<string, unknown> = {}): ReturnType<typeof bridgeConf> =>
      bridgeConf({ bridge: 'br2', ipam: { type: 'host-local', subnet: '10.92.0.0/29', dataDir }, ...more });
    const pods = ['a', 'b', 'c'].map((id) => ({ id, netns: fixture.pin(`asked-${id}`) }));
    const [a, b, c] = pods as [(typeof pods)[0], (typeof pods)[0], (typeof pods)[0]];
    assert.equal(
      (await fixture.add([conf({ runtimeConfig: { ips: ['10.92.0.5/29'] } })], a)).ips[0]?.address,
      '10.92.0.5/29',
    );
    assert.equal((await fixture.add([conf()], b)).ips[0]?.address, '10.92.0.6/29');
    // The address .2 in the store is skipped.
    assert.equal((await fixture.add([conf()], c)).ips[0]?.address, '10.92.0.3/29');
    const d = { id: 'd', netns: fixture.pin('asked-d') };
    await assert.rejects(
      fixture.call('add', conf(), d, { args: { IP: '10.92.0.5' } }),
      coded('NETWORK_ADDRESS_TAKEN', /container a/u),
    );
    await assert.rejects(
      fixture.call('add', conf(), d, { args: { IP: '10.92.0.2' } }),
      coded('NETWORK_ADDRESS_TAKEN', /host-local/u),
    );
    await assert.rejects(
      fixture.call('add', conf(), d, { args: { IP: '10.92.0.1' } }),
      coded('NETWORK_ADDRESS_OUT_OF_RANGE'),
    );
    await assert.rejects(
      fixture.call('add', conf(), d, { args: { IP: '10.93.0.1' } }),
      coded('NETWORK_ADDRESS_OUT_OF_RANGE'),
    );
    await fixture.call('del', conf(), { id: 'old', netns: '' });
    assert.equal(existsSync(join(dataDir, 'net', '10.92.0.2')), false);
    const ranged = conf({
      capabilities: { ipRanges: true },
      runtimeConfig: { ipRanges: [[{ subnet: '10.94.0.0/24' }]] },
    });
    const both = await fixture.add([{ ...ranged, forceAddress: true }], d);
    assert.deepEqual(
      both.ips.map(({ address }) => address),
      ['10.94.0.2/24', '10.92.0.2/29'],
    );
    for (const pod of [...pods, d]) await fixture.del([conf()], pod);
    assert.deepEqual(rows(), nothing);
  });

  test('the address plugin works alone, as a third-party bridge plugin calls it', async () => {
    const conf = {
      type: 'bridge',
      ipam: { type: 'portcullis-ipam', subnet: '10.95.0.0/30', routes: [{ dst: '0.0.0.0/0' }] },
    };
    const pod = { id: 'lone', netns: '/nowhere' };
    const asIpam = { type: 'portcullis-ipam' };
    assert.deepEqual(await fixture.call('add', conf, pod, asIpam), {
      interfaces: [],
      ips: [{ address: '10.95.0.2/30', gateway: '10.95.0.1' }],
      routes: [{ dst: '0.0.0.0/0' }],
      dns: {},
    });
    await assert.rejects(
      fixture.call('add', conf, { ...pod, id: 'next' }, asIpam),
      coded('NETWORK_ADDRESSES_EXHAUSTED'),
    );
    await assert.rejects(
      fixture.call('status', conf, { ...pod, id: '' }, asIpam),
      coded('NETWORK_NOT_AVAILABLE', /10\.95\.0/u),
    );
    await fixture.call('del', conf, pod, asIpam);
    await fixture.call('status', conf, { ...pod, id: '' }, asIpam);
    assert.deepEqual(rows(), nothing);
  });

  test('a third-party address plugin runs as a program with a file as its input; its error is reported, its lease is released', async () => {
    const programs = join(fixture.folder, 'programs');
    const calls = join(fixture.folder, 'calls');
    mkdirSync(programs);
    writeFileSync(
      join(programs, 'stranger'),
      `#!/bin/sh
[ -f /dev/stdin ] || exit 3
echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $(grep -c stranger /dev/stdin)" >> ${calls}
[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0","ips":[{"address":"10.96.0.9/24","gateway":"10.96.0.1"}],"routes":[{"dst":"0.0.0.0/0"}]}'
[ "$CNI_CONTAINERID" = refused ] && [ "$CNI_COMMAND" = ADD ] && exit 1
exit 0
`,
      { mode: 0o755 },
    );
    const more = { path: ['/nowhere', programs] };
    const conf = bridgeConf({ bridge: 'br3', ipam: { type: 'stranger' } });
    const pod = { id: 'guest', netns: fixture.pin('guest') };
    const result = await fixture.call('add', conf, pod, more);
    assert.deepEqual(result?.ips, [{ interface: 2, address: '10.96.0.9/24', gateway: '10.96.0.1' }]);
    assert.match(fixture.inside(pod.netns, 'ip route') ?? '', /default via 10\.96\.0\.1/u);
    await fixture.call('check', conf, pod, { ...more, prevResult: result });
    await fixture.checkAtOnce([conf], pod, result, more);
    await assert.rejects(fixture.call('add', conf, pod, more), coded('NETWORK_ALREADY_ATTACHED'));
    await fixture.call('del', conf, pod, more);
    assert.equal(
      readFileSync(calls, 'utf8'),
      'ADD guest eth0 1\nCHECK guest eth0 1\nCHECK guest eth0 1\nDEL guest eth0 1\n',
    );
    fixture.inside(pod.netns, 'ip link add eth0 type bridge');
    await assert.rejects(fixture.call('add', conf, pod, more), coded('NETWORK_INTERFACE_TAKEN'));
    assert.match(readFileSync(calls, 'utf8'), /ADD guest eth0 1\nDEL guest eth0 1\n$/u);
    const wrong = { id: 'refused', netns: fixture.pin('refused') };
    await assert.rejects(
      fixture.call('add', conf, wrong, more),
      coded('NETWORK_IPAM_FAILED', /ended with 1/u),
    );
    await assert.rejects(
      fixture.call('add', bridgeConf({ ipam: { type: 'none-such' } }), wrong, more),
      coded('NETWORK_IPAM_FAILED', /no program of that name in \/nowhere:.*correct 'ipam.type'/u),
    );
    assert.deepEqual(rows(), nothing);
  });

  test('DEL reports a third-party address plugin that does not release its lease, and removes the rest', async () => {
    const programs = join(fixture.folder, 'stubborn');
    mkdirSync(programs);
    const program = (del: string): void =>
      writeFileSync(
        join(programs, 'stubborn'),
        `#!/bin/sh
[ "$CNI_COMMAND" = DEL ] && { ${del}; }
[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0","ips":[{"address":"10.96.0.9/24"}]}'
exit 0
`,
        { mode: 0o755 },
      );
    const conf = bridgeConf({ bridge: 'br3', ipam: { type: 'stubborn' } });
    const pod = { id: 'stubborn', netns: fixture.pin('stubborn') };
    program(`echo '{"code":11,"msg":"later"}'; exit 1`);
    await fixture.call('add', conf, pod, { path: [programs] });
    const reported = coded('NETWORK_IPAM_FAILED', /call DEL of the address plugin stubborn: later/u);
    await assert.rejects(fixture.call('del', conf, pod, { path: [programs] }), reported);
    assert.equal(fixture.inside(pod.netns, 'ip link show eth0'), undefined);
    assert.deepEqual(rows(), nothing);
    await assert.rejects(
      fixture.call('del', conf, pod, { path: ['/nowhere'] }),
      coded('NETWORK_IPAM_FAILED', /call DEL .*no program/u),
    );
    program('exit 0');
    await fixture.call('del', conf, pod, { path: [programs] });
  });

  test('STATUS reports what the host lacks', async () => {
    const host = { id: '', netns: '' };
    for (const [conf, reported] of [
      [{ type: 'portcullis-macvlan', master: 'nolink0' }, /the host has no link nolink0/u],
      [{ type: 'portcullis-macvlan' }, /the host has no default route/u],
      [{ type: 'portcullis-vlan', master: 'nolink0', vlanId: 5 }, /the host has no link nolink0/u],
      [{ type: 'portcullis-ipvlan', master: 'nolink0' }, /the host has no link nolink0/u],
      [{ type: 'portcullis-vxlan', vni: 5, master: 'nolink0' }, /the host has no link nolink0/u],
      [{ type: 'portcullis-bridge', bridge: 'lo' }, /lo is not a bridge, but a link of kind hardware/u],
    ] as const)
      await assert.rejects(fixture.call('status', conf, host), coded('NETWORK_NOT_AVAILABLE', reported));
    for (const conf of [
      { type: 'portcullis-macvlan', linkInContainer: true },
      { type: 'portcullis-ipvlan' },
      { type: 'portcullis-bridge', bridge: 'none0' },
    ])
      await fixture.call('status', conf, host);
  });

  test('STATUS reports a bridge whose address excludes the gateway of the network, as ADD does', async () => {
    const host = { id: '', netns: '' };
    const other = (more = {}): ReturnType<typeof bridgeConf> => ({
      ...bridgeConf({ bridge: 'taken0', ...more }),
      ipam: { type: 'portcullis-ipam', ranges: [[{ subnet: '10.99.0.0/16' }], [{ subnet: 'fd00:90::/56' }]] },
    });
    const reason =
      /the bridge taken0 cannot be used: it has the address 10\.99\.0\.1\/24, which is not 10\.99\.0\.1\/16/u;
    shell('ip link add taken0 type bridge; ip addr add 10.99.0.1/24 dev taken0');
    const pod = { id: 'conflict', netns: fixture.pin('conflict') };
    await assert.rejects(fixture.add([other()], pod), coded('NETWORK_BRIDGE_UNUSABLE'));
    await assert.rejects(fixture.call('status', other(), host), coded('NETWORK_NOT_AVAILABLE', reason));
    shell('ip addr flush dev taken0; ip addr add fd00:90::9/64 dev taken0 nodad');
    await assert.rejects(
      fixture.call('status', other(), host),
      coded('NETWORK_NOT_AVAILABLE', /fd00:90::9\/64, which is not fd00:90::1\/56/u),
    );
    for (const conf of [other({ forceAddress: true }), other({ isDefaultGateway: false })])
      await fixture.call('status', conf, host);
    shell(
      'ip addr flush dev taken0; ip addr add 10.99.0.1/16 dev taken0; ip addr add fd00:91::1/64 dev taken0 nodad',
    );
    await fixture.call('status', other(), host);
    shell('ip link del taken0');
  });

  test('a VLAN is refused by name if the kernel has no VLAN filtering on bridges', async (t) => {
    if (
      /vlan_filtering/u.test(shell('ip link add probe type bridge; ip -d link show probe; ip link del probe'))
    )
      return t.skip('this kernel has them');
    const pod = { id: 'vlan', netns: fixture.pin('vlan') };
    await assert.rejects(
      fixture.add([bridgeConf({ vlan: 100 })], pod),
      coded('NETWORK_FIELD_UNSUPPORTED', /BRIDGE_VLAN_FILTERING/u),
    );
    assert.deepEqual(rows(), nothing);
  });

  test('a failed ADD leaves nothing', async () => {
    const netns = fixture.pin('fails');
    const pod = { id: 'fails', netns };
    const before = shell('ip -o link | cut -d: -f2; nft list ruleset');
    fixture.inside(netns, 'ip link add eth0 type bridge');
    await assert.rejects(fixture.add([bridgeConf()], pod), coded('NETWORK_INTERFACE_TAKEN'));
    await assert.rejects(
      fixture.add([bridgeConf()], { ...pod, netns: '/nowhere' }),
      coded('NETWORK_NETNS_MISSING'),
    );
    await assert.rejects(
      fixture.add([bridgeConf()], { ...pod, netns: '/proc/self/ns/net' }),
      coded('NETWORK_NETNS_INVALID'),
    );
    await assert.rejects(
      fixture.add([bridgeConf({ vlan: 5, mtu: 'big' })], pod),
      coded('NETWORK_CONFIG_INVALID', /stdin:\d+:\d+: mtu must be/u),
    );
    await assert.rejects(
      fixture.add([portmapConf()], pod),
      coded('NETWORK_PREVIOUS_RESULT_MISSING', /place the plugin after one that creates an interface/u),
    );
    await assert.rejects(
      fixture.check([bridgeConf()], pod, undefined),
      coded('NETWORK_PREVIOUS_RESULT_MISSING', /call ADD first/u),
    );
    await assert.rejects(fixture.add([{ type: 'nonsense' }], pod), coded('NETWORK_PLUGIN_UNKNOWN'));
    const other = { id: 'other', netns: fixture.pin('fails-other'), name: 'eth0' };
    const chain = [bridgeConf(), portmapConf({ hostPort: 9000, containerPort: 1 })];
    await fixture.add(chain, other);
    const thief = { id: 'thief', netns: fixture.pin('thief') };
    await assert.rejects(fixture.add(chain, thief), coded('NETWORK_HOST_PORT_TAKEN', /container other/u));
    await fixture.del(chain, thief);
    await fixture.del(chain, other);
    assert.equal(shell('ip -o link | cut -d: -f2; nft list ruleset'), before);
    assert.deepEqual(rows(), nothing);
  });

  test('a chain is deleted although a plugin of it refused its configuration', async () => {
    const pod = { id: 'invalid', netns: fixture.pin('invalid') };
    const chain = [bridgeConf(), portmapConf({ hostPort: 65_536, containerPort: 80 })];
    await assert.rejects(fixture.add(chain, pod), coded('NETWORK_CONFIG_INVALID'));
    await fixture.del(chain, pod);
    assert.deepEqual(rows(), nothing);
  });

  test('a field that no plugin knows is refused by ADD and STATUS; existing attachments are still checked and deleted', async () => {
    const pod = { id: 'unknown', netns: fixture.pin('unknown') };
    const misspelled = bridgeConf({ brige: 'br1', hairpinMod: true });
    const ipam = { type: 'host-local', subnet: '10.90.9.0/24', rangeEnds: '10.90.9.9' };
    for (const verb of ['add', 'status'] as const) {
      await assert.rejects(
        fixture.call(verb, misspelled, pod),
        coded(
          'NETWORK_CONFIG_INVALID',
          /stdin:\d+:\d+: unknown field "brige": did you mean 'bridge'\?.*"hairpinMod": did you mean 'hairpinMode'/su,
        ),
      );
      await assert.rejects(
        fixture.call(verb, bridgeConf({ ipam }), pod),
        coded('NETWORK_CONFIG_INVALID', /"rangeEnds": did you mean 'rangeEnd'/u),
      );
      // A third-party plugin calls the address plugin with its own configuration.
      await assert.rejects(
        fixture.call(verb, { type: 'portcullis-ipam', ownField: 1, ipam }, pod),
        coded('NETWORK_CONFIG_INVALID', /^(?!.*ownField).*"rangeEnds"/su),
      );
    }
    const result = await fixture.add([bridgeConf()], pod);
    await fixture.check([misspelled], pod, result);
    await fixture.del([misspelled], pod);
    assert.deepEqual(rows(), nothing);
  });

  test('a pod whose namespace is gone is deleted', async () => {
    const pod = { id: 'gone', netns: fixture.pin('gone') };
    const chain = [
      bridgeConf({ macspoofchk: true }),
      portmapConf({ hostPort: 9001, containerPort: 1, protocol: 'udp' }),
      { type: 'loopback' },
    ];
    await fixture.add(chain, pod);
    shell(`umount ${pod.netns}`);
    tried(`rm ${pod.netns}`);
    await fixture.del(chain, pod);
    assert.deepEqual(rows(), nothing);
    assert.doesNotMatch(shell('nft list ruleset'), /9001|"pc/u);
  });
}
