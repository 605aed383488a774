import { NETLINK_NETFILTER, NETLINK_ROUTE } from '../../../base/kernel/index.ts';
import { PortcullisError } from '../../../base/errors/index.ts';
import {
  equals,
  inSet,
  meta,
  notInSet,
  payload,
  register,
  verdict,
  isRefusal,
  findLink,
  addChain,
  addElements,
  addRule,
  addSet,
  addTable,
  concatenated,
  deleteTable,
  interfaceKey,
  listRules,
  transact,
  deleteAddress,
  listHostAddresses,
  putAddress,
  openNetlink,
  tolerating,
} from '../../../base/netlink/index.ts';
import type { NamedSet, Table, Request } from '../../../base/netlink/index.ts';
import { serviceLink } from '../model/model.ts';
import { contains, formatIp, ipBytes, ipFromBytes, parseIp } from '../../../base/addresses/index.ts';
import type { IpAddress } from '../../../base/addresses/index.ts';

/**
 * The host's side of virtual addresses, in the namespace of this thread. The link of the network answers for
 * each address (ARP, neighbour discovery), and packets from any other link do not reach it. A program of the
 * host itself does.
 */
export interface HostSide {
  /** @throws NETWORK_SERVICE_LINK_MISSING · NETWORK_KERNEL_<ERRNO> */
  answer(service: string, addresses: readonly string[]): Scoped[];
  /**
   * For a network that spans hosts. Pods reach the address through their gateway at `link`, without ARP or
   * neighbour discovery.
   * @throws NETWORK_KERNEL_<ERRNO>
   */
  answerRouted(addresses: readonly string[], link: string): Scoped[];
  /** Removes the addresses from every link except IPVS's own. */
  silence(addresses: readonly string[]): void;
  /** Brings the rules to exactly these. */
  scope(scoped: readonly Scoped[]): void;
  close(): void;
}

/** An address, and the only link from which it is reachable. Absent: from none. */
export interface Scoped {
  readonly address: string;
  readonly link?: string;
}

const bits = { 4: 32, 6: 128 } as const;
/** The kernel gives the loopback link this number in every namespace. */
const loopback = 1;
const families = [4, 6] as const;
/** After connection tracking (-200), before services (-105). */
const beforeServices = -110;
const prerouting = {
  name: 'prerouting',
  hook: { type: 'filter', number: 0, priority: beforeServices },
} as const;
const tableOf = (family: 4 | 6): Table => ({
  family: family === 4 ? 'ip' : 'ip6',
  name: 'portcullis_service_networks',
});

function setsOf(family: 4 | 6): readonly NamedSet[] {
  const address = family === 4 ? 'ipv4_addr' : 'ipv6_addr';
  return [
    { name: 'virtual', key: [address] },
    { name: 'reached', key: [address, 'ifname'] },
  ];
}

function rulesOf(family: 4 | 6): readonly Buffer[][] {
  const [width, offset] = family === 4 ? [1, 16] : [4, 24];
  const r0 = register(0);
  return [
    // A program of the host that connects to an unserved port gets a refusal.
    [meta('iifname', r0), equals(r0, interfaceKey('lo')), verdict('return')],
    [
      payload('network', offset, 4 * width, r0),
      inSet('virtual', r0),
      meta('iifname', register(width)),
      notInSet('reached', r0),
      verdict('drop'),
    ],
  ];
}

export function openHostSide(): HostSide {
  const route = openNetlink(NETLINK_ROUTE);
  const filter = openNetlink(NETLINK_NETFILTER);
  let existing = '';

  const rulesStand = (family: 4 | 6): boolean => {
    try {
      return filter.dump(listRules(tableOf(family))).length === rulesOf(family).length;
    } catch (thrown) {
      if (isRefusal(thrown, 'ENOENT')) return false;
      throw thrown;
    }
  };
  const linkOf = (index: number): string => findLink(route, { index })?.name ?? '';
  const have = (index: number, bytes: Buffer, present: ReturnType<typeof listHostAddresses>): void => {
    const length = bytes.length * 8;
    if (present.some((each) => each.index === index && each.length === length && bytes.equals(each.address)))
      return;
    route.run([putAddress(index, { address: bytes, length }, { prefixRoute: false, isSource: false })]);
  };

  return {
    answer(service, addresses) {
      const present = listHostAddresses(route);
      return addresses.map((text) => {
        const address = addressOf(text);
        const whole = bits[address.family];
        // Members are reached without a gateway on a link with an address of their subnet, and they look for
        // this address there.
        const [near] = present
          .map((each) => ({ ...each, prefix: { address: ipFromBytes(each.address), length: each.length } }))
          .filter(
            ({ prefix }) =>
              prefix.address.family === address.family && prefix.length < whole && contains(prefix, address),
          )
          .toSorted((a, b) => b.length - a.length);
        if (near === undefined) throw linkMissing(service, text);
        have(near.index, ipBytes(address), present);
        return { address: text, link: linkOf(near.index) };
      });
    },
    answerRouted(addresses, link) {
      const present = listHostAddresses(route);
      for (const address of addresses) have(loopback, ipBytes(addressOf(address)), present);
      return addresses.map((address) => ({ address, link }));
    },
    silence(addresses) {
      const gone = addresses.map((text) => ipBytes(addressOf(text)));
      for (const { index, address, length } of listHostAddresses(route)) {
        if (length !== address.length * 8 || !gone.some((each) => each.equals(address))) continue;
        // IPVS has a link of its own with the addresses that it serves.
        if (linkOf(index) === serviceLink) continue;
        tolerating(['EADDRNOTAVAIL', 'ENODEV'], () => route.run([deleteAddress(index, address, length)]));
      }
    },
    scope(scoped) {
      const wanted = JSON.stringify(scoped);
      const first = scoped.length === 0 ? [] : families;
      if (wanted === existing && first.every(rulesStand)) return;
      const requests = families.flatMap((family) => scopeRequests(family, scoped));
      if (requests.length > 0) transact(filter, requests);
      existing = wanted;
    },
    close() {
      route.close();
      filter.close();
    },
  };
}

/** Replaces the table in one transaction: no address is ever without its rule. */
function scopeRequests(family: 4 | 6, scoped: readonly Scoped[]): Request[] {
  const table = tableOf(family);
  const away = [addTable(table), deleteTable(table)];
  if (scoped.length === 0) return away;
  const own = scoped
    .map(({ address, link }) => ({ bytes: ipBytes(addressOf(address)), link }))
    .filter(({ bytes }) => bytes.length * 8 === bits[family]);
  return [
    ...away,
    addTable(table),
    ...setsOf(family).map((set, id) => addSet(table, set, id + 1)),
    addChain(table, prerouting),
    ...rulesOf(family).map((rule) => addRule(table, prerouting.name, rule)),
    ...addElements(
      table,
      'virtual',
      own.map(({ bytes }) => ({ key: bytes })),
    ),
    ...addElements(
      table,
      'reached',
      own.flatMap(({ bytes, link }) =>
        link === undefined ? [] : [{ key: concatenated(bytes, interfaceKey(link)) }],
      ),
    ),
  ];
}

function addressOf(text: string): IpAddress {
  const address = parseIp(text);
  if (address === undefined)
    throw new Error(`${JSON.stringify(text)} was stored as an address without a check`);
  return address;
}

function linkMissing(service: string, address: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_SERVICE_LINK_MISSING',
    kind: 'precondition',
    attempted: `answer for the virtual address ${formatIp(addressOf(address))} of the service`,
    on: service,
    why: 'no link of this host has an address in the same subnet: the host is not a gateway of the network',
    fix: 'use a network of the bridge plugin that is a gateway (isGateway), or the mode dnsrr',
  });
}
