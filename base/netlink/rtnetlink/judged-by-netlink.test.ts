import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseMessages, rt } from 'netlink';
import { setPort, setPortUp } from './bridge-port-settings.ts';
import { changeMode, createLink, createPair } from './link-kinds.ts';
import * as settings from './link-settings.ts';
import * as links from './links.ts';
import { plain, withInfo } from './netlink-observer.fixture.ts';
import * as neighbours from './neighbours.ts';
import * as tables from './route-tables.ts';
import * as routes from './routes.ts';
import type { Request } from '../protocol/socket.ts';
import { encodeMessages, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST } from '../protocol/wire.ts';

/** The npm package netlink has its own codec, which reads the messages that ours writes. */

const mac = Buffer.from('02005e005301', 'hex');
const podMac = Buffer.from('02005e005302', 'hex');
const ipv4 = (text: string): Buffer => Buffer.from(text.split('.').map(Number));
const ipv6 = (last: number): Buffer =>
  Buffer.from(`fd00${'00'.repeat(13)}${last.toString(16).padStart(2, '0')}`, 'hex');

function messageType(number: number): rt.MessageType {
  const isType = (value: unknown): value is rt.MessageType => value === number;
  return Object.values(rt.MessageType).find(isType) ?? assert.fail(`no message has the type ${number}`);
}

/** Reads a message of ours, which must be the only one in its bytes. */
function readByNetlink(request: Request): unknown {
  const [message, ...others] = parseMessages(encodeMessages([request], 7, NLM_F_REQUEST));
  assert.ok(message !== undefined && others.length === 0);
  assert.deepEqual([message.seq, message.port, message.flags & NLM_F_REQUEST], [7, 0, NLM_F_REQUEST]);
  const { data, attrs, kind } = withInfo(rt.parseMessage(messageType(message.type), message.data)) as Record<
    string,
    object
  >;
  return plain({ type: message.type, flags: message.flags & ~NLM_F_REQUEST, kind, data, attrs });
}

const create = NLM_F_CREATE | NLM_F_EXCL;
const put = NLM_F_CREATE | NLM_F_REPLACE;
const { NEWLINK, DELLINK, GETLINK, NEWADDR, DELADDR, NEWROUTE, DELROUTE, NEWNEIGH, DELNEIGH, NEWRULE } =
  rt.MessageType;

const linkInfo = (kind: string, data?: object): object => ({
  linkinfo: { kind, ...(data === undefined ? {} : { data }) },
});
const change = (index: number, attrs: object = {}, header: object = {}): object => ({
  type: NEWLINK,
  flags: 0,
  kind: 'link',
  data: { index, ...header },
  attrs,
});
const created = (attrs: object): object => ({ type: NEWLINK, flags: create, kind: 'link', attrs });
const address = (type: number, flags: number, data: object, attrs: object): object => ({
  type,
  flags,
  kind: 'address',
  data,
  attrs,
});

/** Our messages, and what they must say. */
const messages: readonly (readonly [name: string, request: Request, says: object])[] = [
  [
    'a bridge',
    links.createBridge({ name: 'br7', mac, group: 7, mtu: 1400 }),
    created({ ifname: 'br7', address: '02005e005301', group: 7, mtu: 1400, ...linkInfo('bridge') }),
  ],
  [
    'a veth pair on a bridge',
    links.createVeth({
      name: 'v0',
      group: 7,
      mtu: 1400,
      master: 3,
      mac,
      peer: { name: 'eth0', netnsFd: 9, mac: podMac },
    }),
    created({
      ...{
        ifname: 'v0',
        address: '02005e005301',
        mtu: 1400,
        group: 7,
        master: 3,
        numTxQueues: 1,
        numRxQueues: 1,
      },
      ...linkInfo('veth', {
        peer: {
          data: { index: 0 },
          attrs: {
            ifname: 'eth0',
            address: '02005e005302',
            mtu: 1400,
            netNsFd: 9,
            numTxQueues: 1,
            numRxQueues: 1,
          },
        },
      }),
    }),
  ],
  [
    'a veth pair',
    createPair({ name: 'v1', mac, group: 7 }, { name: 'eth0', mac: podMac, netnsFd: 9 }, 1300),
    created({
      ...{ ifname: 'v1', address: '02005e005301', mtu: 1300, group: 7 },
      ...linkInfo('veth', {
        peer: { attrs: { ifname: 'eth0', address: '02005e005302', mtu: 1300, netNsFd: 9 } },
      }),
    }),
  ],
  [
    'a VXLAN',
    createLink({
      name: 'vx',
      parent: 4,
      of: {
        kind: 'vxlan',
        id: 77,
        port: 4789,
        learning: false,
        proxy: true,
        local: ipv4('10.0.0.1'),
        group: ipv4('239.0.0.1'),
        ttl: 3,
      },
    }),
    created({
      ifname: 'vx',
      ...linkInfo('vxlan', {
        ...{
          id: 77,
          link: 4,
          local: '0a000001',
          group: 'ef000001',
          ttl: 3,
          learning: 0,
          proxy: 1,
          port: '12b5',
        },
      }),
    }),
  ],
  [
    'a VXLAN over IPv6',
    createLink({
      name: 'vx6',
      of: {
        kind: 'vxlan',
        id: 0xffffff,
        port: 8472,
        learning: true,
        proxy: false,
        local: ipv6(1),
        group: ipv6(2),
      },
    }),
    created(
      linkInfo('vxlan', {
        ...{
          id: 0xffffff,
          local6: plain(ipv6(1)),
          group6: plain(ipv6(2)),
          learning: 1,
          proxy: 0,
          port: '2118',
        },
      }),
    ),
  ],
  [
    'a macvlan',
    createLink({ name: 'mv', of: { kind: 'macvlan', mode: 'vepa' }, parent: 4, mac, mtu: 1400, netnsFd: 9 }),
    created({
      ...{ ifname: 'mv', link: '04000000', address: '02005e005301', mtu: 1400, netNsFd: 9 },
      ...linkInfo('macvlan', { mode: 2 }),
    }),
  ],
  [
    'the mode of a macvlan',
    changeMode(5, { kind: 'macvlan', mode: 'private' }),
    change(5, linkInfo('macvlan', { mode: 1 })),
  ],
  [
    'an ipvlan',
    createLink({ name: 'iv', of: { kind: 'ipvlan', mode: 'l3s' }, parent: 4 }),
    created({ ifname: 'iv', link: '04000000', ...linkInfo('ipvlan', { mode: 2 }) }),
  ],
  [
    'a VLAN',
    createLink({ name: 'vl', of: { kind: 'vlan', id: 4094 }, parent: 4 }),
    created({ link: '04000000', ...linkInfo('vlan', { id: 4094 }) }),
  ],
  [
    'a dummy on a bridge',
    createLink({ name: 'd', of: { kind: 'dummy' }, master: 3 }),
    created({ master: 3, linkinfo: { kind: 'dummy' } }),
  ],
  [
    'a link that comes up',
    links.setUp({ index: 5 }),
    change(5, {}, { flags: { up: true }, change: { up: true } }),
  ],
  ['a link that goes down', links.setDown({ index: 5 }), change(5, {}, { flags: {}, change: { up: true } })],
  [
    'promiscuous mode',
    links.setPromiscuous({ index: 5 }),
    change(5, {}, { flags: { promisc: true }, change: { promisc: true } }),
  ],
  [
    'no multicast',
    settings.setFlag(5, 'allMulticast', false),
    change(5, {}, { flags: {}, change: { allmulti: true } }),
  ],
  ['a link by name', links.setUp({ name: 'v0' }), change(0, { ifname: 'v0' })],
  ['a master', links.setMaster({ index: 5 }, 3), change(5, { master: 3 })],
  ['no master', links.setMaster({ index: 5 }, 0), change(5, { master: 0 })],
  ['a group', links.setGroup({ index: 5 }, 0xfffffffe), change(5, { group: 0xfffffffe })],
  ['an alias', links.setAlias({ index: 5 }, 'pod web'), change(5, { ifalias: 'pod web' })],
  ['a MAC address', settings.setMac(5, '02:00:5e:00:53:01'), change(5, { address: '02005e005301' })],
  ['an MTU', settings.setMtu(5, 65_535), change(5, { mtu: 65_535 })],
  ['a queue length', settings.setQueueLength(5, 1000), change(5, { txqlen: 1000 })],
  ['a move', settings.moveLink(5, 9, 'eth1'), change(5, { netNsFd: 9, ifname: 'eth1' })],
  [
    'no generated IPv6 addresses',
    links.setNoOwnIpv6({ index: 5 }),
    change(5, { afSpec: { 10: '0500080001000000' } }),
  ],
  [
    'a bridge port that comes up',
    setPortUp({ index: 5 }, { hairpin: true, noOwnIpv6: true, onlyKnown: true, alias: 'pod' }),
    change(5, {
      ifalias: 'pod',
      linkinfo: { slaveKind: 'bridge', slaveData: { mode: 1, unicastFlood: 0 } },
      afSpec: { 10: '0500080001000000' },
    }),
  ],
  [
    'an isolated bridge port',
    setPort({ index: 5 }, { hairpin: false, isolated: true }),
    change(5, { linkinfo: { slaveKind: 'bridge', slaveData: { mode: 0, isolated: '01' } } }),
  ],
  [
    'a link to delete',
    links.deleteLink({ index: 5 }),
    { type: DELLINK, flags: 0, kind: 'link', data: { index: 5 } },
  ],
  [
    'a group to delete',
    links.deleteGroup(7),
    { type: DELLINK, flags: 0, kind: 'link', data: { index: 0 }, attrs: { group: 7 } },
  ],
  [
    'a link to look up',
    links.getLink({ name: 'v0' }),
    { type: GETLINK, flags: 0, attrs: { ifname: 'v0', extMask: '08000000' } },
  ],
  [
    'an IPv4 address',
    tables.putAddress(5, { address: ipv4('10.0.0.1'), length: 20 }, { prefixRoute: false }),
    address(
      NEWADDR,
      put,
      { family: 2, prefixlen: 20, index: 5 },
      { local: '0a000001', address: '0a000001', broadcast: '0a000fff', flags: { noprefixroute: true } },
    ),
  ],
  [
    'an IPv6 address that is not a source',
    tables.putAddress(5, { address: ipv6(1), length: 64 }, { prefixRoute: true, isSource: false }),
    address(
      NEWADDR,
      put,
      { family: 10, prefixlen: 64, index: 5 },
      { local: plain(ipv6(1)), flags: { nodad: true }, cacheInfo: { ifaPrefered: 0, ifaValid: 0xffffffff } },
    ),
  ],
  [
    'an address to delete',
    routes.deleteAddress(5, ipv4('10.0.0.1'), 24),
    address(DELADDR, 0, { family: 2, prefixlen: 24, index: 5 }, { local: '0a000001', address: '0a000001' }),
  ],
  [
    'a default route',
    routes.addRoute({ index: 5, destination: ipv4('0.0.0.0'), prefixLength: 0, gateway: ipv4('10.0.0.1') }),
    {
      ...{ type: NEWROUTE, flags: put, kind: 'route' },
      data: { family: 2, dstLen: 0, table: 254, protocol: 'BOOT', scope: 'UNIVERSE', type: 'UNICAST' },
      attrs: { gateway: '0a000001', oif: 5 },
    },
  ],
  [
    'a route with every part',
    tables.appendRoute({
      ...{
        index: 5,
        destination: ipv4('10.1.0.0'),
        length: 16,
        table: 1000,
        scope: tables.routeScopes.universe,
      },
      ...{
        gateway: ipv4('10.0.0.9'),
        onLink: true,
        source: ipv4('10.0.0.1'),
        priority: 50,
        mtu: 1300,
        advmss: 1200,
      },
    }),
    {
      ...{ type: NEWROUTE, flags: NLM_F_CREATE, kind: 'route' },
      data: {
        family: 2,
        dstLen: 16,
        table: 0,
        protocol: 'BOOT',
        scope: 'UNIVERSE',
        type: 'UNICAST',
        flags: { __unknown: 4 },
      },
      attrs: {
        ...{ dst: '0a010000', gateway: '0a000009', prefsrc: '0a000001', priority: 50, table: 1000, oif: 5 },
        metrics: { mtu: '14050000', advmss: 'b0040000' },
      },
    },
  ],
  [
    'a route to delete',
    tables.deleteRoute({
      index: 5,
      destination: ipv6(0),
      length: 64,
      table: 254,
      scope: tables.routeScopes.link,
    }),
    {
      ...{ type: DELROUTE, flags: 0, kind: 'route' },
      data: { family: 10, dstLen: 64, scope: 'NOWHERE' },
      attrs: { dst: plain(ipv6(0)), table: 254, oif: 5 },
    },
  ],
  [
    'a neighbour',
    neighbours.putNeighbour(5, { address: ipv4('10.0.0.3'), mac }),
    {
      ...{ type: NEWNEIGH, flags: put, kind: 'neighbor' },
      data: { family: 2, ifindex: 5, state: { permanent: true } },
      attrs: { dst: '0a000003', lladdr: '02005e005301' },
    },
  ],
  [
    'a forwarding entry to delete',
    neighbours.deleteForwarding(5, { mac, remote: ipv6(3) }),
    {
      ...{ type: DELNEIGH, flags: 0, kind: 'neighbor' },
      data: { family: 7, ifindex: 5, flags: { self: true } },
      attrs: { dst: plain(ipv6(3)), lladdr: '02005e005301' },
    },
  ],
  [
    'a rule',
    tables.addSourceRule({ source: ipv4('10.0.0.3'), table: 1000 }),
    {
      ...{ type: NEWRULE, flags: create, kind: 'rule' },
      data: { family: 2, srcLen: 32, action: 'toTbl' },
      attrs: { src: '0a000003', table: 1000 },
    },
  ],
];

for (const [name, request, says] of messages)
  test(`netlink reads our message: ${name}`, () => {
    assert.partialDeepStrictEqual(readByNetlink(request), says);
  });

test('netlink reads a batch of our messages in order', () => {
  const requests = messages.map(([, request]) => request);
  const read = parseMessages(encodeMessages(requests, 100, NLM_F_REQUEST));
  assert.deepEqual(
    read.map(({ seq, type, data }) => [seq, type, data.toString('hex')]),
    requests.map(({ type, body }, index) => [100 + index, type, Buffer.from(body).toString('hex')]),
  );
});
