import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { AttrStream, createRtNetlink, ifla, rt } from 'netlink';
import { NETLINK_ROUTE } from '../../kernel/index.ts';
import { setPort, setPortUp } from './bridge-port-settings.ts';
import { createLink } from './link-kinds.ts';
import { addAlternativeNames, listSettings } from './link-settings.ts';
import * as links from './links.ts';
import * as neighbours from './neighbours.ts';
import { plain, withInfo } from './netlink-observer.fixture.ts';
import * as tables from './route-tables.ts';
import * as routes from './routes.ts';
import { openNetlink } from '../protocol/socket.ts';
import { NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL } from '../protocol/wire.ts';

/**
 * Both the npm package netlink and our codec list what the kernel has, after ours or the package changed it.
 * The lists must be equal, field by field.
 */

const mac = (last: number): Buffer => Buffer.from([2, 0, 0x5e, 0, 0x53, last]);
const ipv4 = (text: string): Buffer => Buffer.from(text.split('.').map(Number));
const ipv6 = (last: number): Buffer =>
  Buffer.from(`fd00${'00'.repeat(13)}${last.toString(16).padStart(2, '0')}`, 'hex');
const hex = (bytes: Uint8Array | undefined): string | undefined =>
  bytes === undefined ? undefined : Buffer.from(bytes).toString('hex');

const ours = openNetlink(NETLINK_ROUTE);
const theirs = createRtNetlink();
const here = openSync('/proc/self/ns/net', 'r');
after(() => {
  closeSync(here);
  ours.close();
  theirs.socket.close();
});

const create = NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;
const indexOf = (name: string): number =>
  links.lookUp(ours, { name })?.index ?? assert.fail(`no link ${name}`);

before(() => {
  ours.run([
    links.createBridge({ name: 'br0', mac: mac(1), group: 7, mtu: 1450 }),
    links.setUp({ name: 'br0' }),
  ]);
  const bridge = indexOf('br0');
  const pair = { group: 9, mtu: 1400, master: bridge };
  ours.run([
    links.createVeth({ ...pair, name: 'v0', peer: { name: 'p0', netnsFd: here, mac: mac(3) } }),
    links.createVeth({ ...pair, name: 'v1', mac: mac(4), peer: { name: 'p1', netnsFd: here, mac: mac(5) } }),
    links.createBridge({ name: 'lower', mac: mac(6), group: 0, mtu: 1500 }),
  ]);
  const lower = indexOf('lower');
  ours.run([
    createLink({ name: 'ifb0', of: { kind: 'ifb' }, mac: mac(7), mtu: 1300 }),
    createLink({
      name: 'vx0',
      parent: lower,
      of: {
        kind: 'vxlan',
        id: 77,
        port: 4789,
        learning: false,
        proxy: true,
        local: ipv4('10.9.0.1'),
        ttl: 3,
      },
    }),
    setPortUp({ name: 'v0' }, { hairpin: true, noOwnIpv6: true, onlyKnown: true, alias: 'pod web' }),
    setPort({ name: 'v1' }, { hairpin: false, isolated: true }),
    links.setPromiscuous({ name: 'v1' }),
    links.setAlias({ name: 'lower' }, 'an alias'),
    addAlternativeNames(lower, ['lower-too']),
    ...['v0', 'p0', 'lower', 'vx0'].map((name) => links.setUp({ name })),
    routes.addAddress(bridge, ipv4('10.0.0.1'), 24),
    routes.addAddress(bridge, ipv6(1), 64),
    tables.putAddress(lower, { address: ipv4('10.9.0.1'), length: 20 }, { prefixRoute: true }),
    tables.putAddress(lower, { address: ipv6(0x91), length: 128 }, { prefixRoute: false, isSource: false }),
  ]);
  const vxlan = indexOf('vx0');
  const main = { table: tables.mainTable, scope: tables.routeScopes.universe } as const;
  ours.run([
    routes.addRoute({
      index: lower,
      destination: ipv4('0.0.0.0'),
      prefixLength: 0,
      gateway: ipv4('10.9.0.2'),
    }),
    tables.appendRoute({
      ...{ ...main, index: lower, destination: ipv4('10.64.0.0'), length: 10, gateway: ipv4('10.9.0.3') },
      ...{ source: ipv4('10.9.0.1'), priority: 50, mtu: 1200, advmss: 1100 },
    }),
    tables.appendRoute({
      ...main,
      index: bridge,
      destination: ipv6(0),
      length: 120,
      table: 1000,
      priority: 3,
    }),
    tables.addSourceRule({ source: ipv4('10.0.0.9'), table: 1000 }),
    neighbours.putNeighbour(lower, { address: ipv4('10.9.0.2'), mac: mac(9) }),
    neighbours.putNeighbour(bridge, { address: ipv6(9), mac: mac(10) }),
    neighbours.addForwarding(vxlan, { mac: Buffer.alloc(6), remote: ipv4('192.0.2.1') }),
    neighbours.addForwarding(vxlan, { mac: Buffer.alloc(6), remote: ipv4('192.0.2.2') }),
    neighbours.addForwarding(vxlan, { mac: mac(11), remote: ipv4('192.0.2.3') }),
  ]);
});

type TheirLink = rt.LinkMessage & {
  readonly attrs: { readonly linkinfo?: ifla.Info & { slaveData?: ifla.BridgePort } };
};

/** Returns a link that netlink lists, as our `Link`. */
function asLink({ data, attrs }: TheirLink): links.Link {
  const port = attrs.linkinfo?.slaveKind === 'bridge' ? attrs.linkinfo.slaveData : undefined;
  return {
    index: data.index ?? 0,
    name: attrs.ifname ?? '',
    up: data.flags?.up === true,
    mtu: attrs.mtu ?? 0,
    mac: (hex(attrs.address) ?? '').replace(/..(?=.)/g, '$&:'),
    group: attrs.group ?? 0,
    master: attrs.master ?? 0,
    peer: attrs.link?.readUInt32LE() ?? 0,
    kind: attrs.linkinfo?.kind ?? '',
    alias: attrs.ifalias ?? '',
    promiscuous: data.flags?.promisc === true,
    ...(attrs.linkNetnsid === undefined ? {} : { peerNamespace: attrs.linkNetnsid }),
    ...(port === undefined
      ? {}
      : { portState: port.state, hairpin: port.mode === 1, isolated: port.isolated?.[0] === 1 }),
  };
}

const theirLinks = async (): Promise<TheirLink[]> =>
  (await theirs.getLinks()).map((message) => withInfo(message) as TheirLink);

test('both list the same links', async () => {
  const listed = (await theirLinks()).map(asLink);
  assert.deepEqual(listed.map(({ name }) => name).toSorted(), [
    'br0',
    'ifb0',
    'lo',
    'lower',
    'p0',
    'p1',
    'v0',
    'v1',
    'vx0',
  ]);
  const own = ours.dump(links.listLinks).map(links.readLink);
  assert.deepEqual(own, listed);
  for (const link of own) assert.deepEqual(links.lookUp(ours, { index: link.index }), link);
  // A comparison of two empty fields would prove nothing.
  const find = (name: string): links.Link => own.find((link) => link.name === name) ?? assert.fail(name);
  assert.partialDeepStrictEqual(find('v0'), {
    kind: 'veth',
    group: 9,
    master: find('br0').index,
    hairpin: true,
    isolated: false,
    alias: 'pod web',
  });
  assert.partialDeepStrictEqual(find('v1'), { isolated: true, promiscuous: true, up: false });
});

test('both list the same settings of links', async () => {
  const listed = (await theirLinks()).map((message) => {
    const { index, name, kind, up, mac: text, mtu, master, peer, alias } = asLink(message);
    const { data, attrs } = message;
    const promiscuous = data.flags?.promisc === true || (attrs.promiscuity ?? 0) > 0;
    const allMulticast = data.flags?.allmulti === true;
    return {
      ...{ index, name, kind, up, mac: text, mtu, master, peer, alias },
      queueLength: attrs.txqlen ?? 0,
      promiscuous,
      allMulticast,
      alternativeNames: attrs.propList?.includes('lower-too\0') === true ? ['lower-too'] : [],
    };
  });
  assert.ok(listed.some(({ alternativeNames }) => alternativeNames.length > 0));
  assert.deepEqual(
    listSettings(ours).map(({ data: _, ...setting }) => setting),
    listed,
  );
});

test('netlink lists the data of our VXLAN', async () => {
  const data: Record<string, unknown> = Object.fromEntries(
    (await theirLinks()).map(({ attrs }) => [attrs.ifname ?? '', plain(attrs.linkinfo?.data)]),
  );
  assert.partialDeepStrictEqual(data['vx0'], {
    id: 77,
    port: '12b5',
    local: '0a090001',
    learning: 0,
    proxy: 1,
    ttl: 3,
  });
});

test('both list the same addresses', async () => {
  const listed = (await theirs.getAddresses()).map(({ data, attrs }) => {
    const { tentative, dadfailed } = attrs.flags ?? {};
    return {
      index: data.index ?? 0,
      address: hex(attrs.local ?? attrs.address),
      length: data.prefixlen,
      ...(dadfailed === true
        ? { detection: 'duplicate' }
        : tentative === true
          ? { detection: 'under way' }
          : {}),
    };
  });
  assert.ok(listed.length >= 6, `${listed.length} addresses`);
  assert.deepEqual(
    tables.listHostAddresses(ours).map((own) => ({ ...own, address: hex(own.address) })),
    listed,
  );
});

test('both list the same routes', async () => {
  const listed = (await theirs.getRoutes()).flatMap(({ data, attrs }) => {
    if (data.type !== 'UNICAST' || data.flags?.cloned === true) return [];
    const metric = (name: 'mtu' | 'advmss'): object => {
      const bytes = attrs.metrics?.[name];
      return bytes === undefined ? {} : { [name]: bytes.readUInt32LE() };
    };
    return [
      {
        index: attrs.oif ?? 0,
        destination: hex(attrs.dst) ?? '00'.repeat(data.family === 2 ? 4 : 16),
        length: data.dstLen,
        table: attrs.table ?? data.table,
        scope: rt.RouteScope[data.scope as keyof typeof rt.RouteScope],
        ...(attrs.gateway === undefined ? {} : { gateway: hex(attrs.gateway) }),
        ...(attrs.prefsrc === undefined ? {} : { source: hex(attrs.prefsrc) }),
        ...(attrs.priority === undefined ? {} : { priority: attrs.priority }),
        ...metric('mtu'),
        ...metric('advmss'),
      },
    ];
  });
  assert.ok(listed.some((route) => 'gateway' in route && 'source' in route && 'mtu' in route));
  assert.deepEqual(tables.listRoutes(ours).map(plain), listed);
});

test('both list the same rules', async () => {
  const listed = (await theirs.getRules()).flatMap(({ data, attrs }) =>
    data.family !== 2 && data.family !== 10
      ? []
      : [
          {
            table: attrs.table ?? data.table,
            priority: attrs.priority ?? 0,
            ...(attrs.src === undefined ? {} : { source: hex(attrs.src) }),
          },
        ],
  );
  assert.ok(listed.some(({ source }) => source === '0a000009'));
  assert.deepEqual(tables.listRoutingRules(ours).map(plain), listed);
});

test('both list the same neighbours and forwarding entries', async () => {
  for (const name of ['lower', 'br0', 'vx0']) {
    const index = indexOf(name);
    const of = async (family: number): Promise<rt.NeighborMessage[]> =>
      (await theirs.getNeighbors({ family })).filter(({ data }) => data.ifindex === index);
    const entries = (await of(7)).flatMap(({ attrs }) =>
      attrs.dst === undefined ? [] : [{ mac: hex(attrs.lladdr), remote: hex(attrs.dst) }],
    );
    assert.deepEqual(neighbours.listForwarding(ours, index).map(plain), entries);
    assert.equal(entries.length, name === 'vx0' ? 3 : 0);
    const permanent = [...(await of(2)), ...(await of(10))].filter(
      ({ data }) => data.state?.permanent === true,
    );
    const expected = permanent.map(({ attrs }) => ({ address: hex(attrs.dst), mac: hex(attrs.lladdr) }));
    assert.deepEqual(neighbours.listNeighbours(ours, index).map(plain), expected);
    assert.equal(expected.length, name === 'vx0' ? 0 : 1);
  }
});

test('our codec lists objects as netlink created them', async () => {
  const info = new AttrStream();
  info.emit(ifla.formatInfo({ kind: 'bridge' }));
  const linkinfo = Buffer.concat(info.bufs);
  await theirs.newLink(
    { flags: { up: true }, change: { up: true } },
    { ifname: 'made', address: mac(20), mtu: 1234, group: 42, linkinfo },
    { flags: create },
  );
  const made = links.lookUp(ours, { name: 'made' }) ?? assert.fail('no link');
  assert.partialDeepStrictEqual(made, {
    up: true,
    mtu: 1234,
    mac: '02:00:5e:00:53:14',
    group: 42,
    kind: 'bridge',
  });
  await theirs.newAddress(
    { family: 2, prefixlen: 30, index: made.index },
    { local: ipv4('10.200.0.1'), address: ipv4('10.200.0.1') },
    { flags: create },
  );
  assert.deepEqual(
    tables
      .listAddresses(ours, made.index)
      .filter(({ address }) => address.length === 4)
      .map(plain),
    [{ address: '0ac80001', length: 30 }],
  );
  await theirs.newRoute(
    { family: 2, dstLen: 24, table: 254, protocol: 'BOOT', scope: 'UNIVERSE', type: 'UNICAST' },
    { dst: ipv4('10.201.0.0'), gateway: ipv4('10.200.0.2'), oif: made.index, priority: 9 },
    { flags: create },
  );
  const route = tables
    .listRoutes(ours)
    .map(plain)
    .find((one) => (one as { destination: string }).destination === '0ac90000');
  assert.deepEqual(route, {
    index: made.index,
    destination: '0ac90000',
    length: 24,
    table: 254,
    scope: 0,
    gateway: '0ac80002',
    priority: 9,
  });
  await theirs.delLink({ index: made.index });
  assert.equal(links.lookUp(ours, { name: 'made' }), undefined);
});
