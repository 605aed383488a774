import { append } from '../../../base/lists/index.ts';
import type { PluginCall } from '../../calls/plugin-call.ts';
import type { CnmConfig, RemotePool } from '../../plugins/cnm/config.ts';
import type { CnmJoined } from '../../plugins/cnm/plugin.ts';
import { gatewayAddress, netLabels } from '../protocol/protocol.ts';
import type { CreateEndpointReply, IpamData, JoinReply } from '../protocol/protocol.ts';
import { macOf } from '../../plugins/interface/link-names.ts';
import { parseMac } from '../../plugins/interface/settings.ts';
import { contains, formatIp, networkOf, parseIp, parsePrefix } from '../../../base/addresses/index.ts';
import type { CniResult, CniRoute } from '../../spec/result.ts';
import { endpointIdOf, foldersOf, networkIdOf, settingsOf } from './documents.ts';
import type {
  AddressDocument,
  DriverRef,
  EndpointDocument,
  NetworkDocument,
  PoolDocument,
} from './documents.ts';
import { driverProtocol, networkChanged } from './failures.ts';
import { hasCode } from './session.ts';
import type { Endpoint, Session } from './session.ts';

/**
 * Creates networks and endpoints at remote drivers. Each request is recorded before it is sent (libnetwork,
 * docs/remote.md and docs/ipam.md).
 */

const ipamRef = (config: CnmConfig, ref: DriverRef): DriverRef => ({
  ...ref,
  name: config.ipam?.driver ?? ref.name,
});

/**
 * Returns the network that the configuration describes, and creates it for its first endpoint.
 * @param leased the result of the IPAM plugin for this endpoint, which shows the subnets
 */
export async function standingNetwork(
  session: Session,
  config: CnmConfig,
  leased: CniResult,
): Promise<NetworkDocument> {
  const driver: DriverRef = { name: config.driver, folders: foldersOf(config) };
  const given = leased.ips.map(poolOf);
  const settings = settingsOf(config, given);
  const own = session
    .networkDocuments()
    .find(({ namespaceId }) => namespaceId === session.namespaceId)?.document;
  if (own?.created === 'made') {
    if (own.settings !== settings) throw networkChanged(session.network);
    return own;
  }
  const { namespaceId } = session;
  let document: NetworkDocument = {
    id: networkIdOf(namespaceId, session.network, config.driver),
    driver,
    settings,
    pools: [],
  };
  const put = async (next: NetworkDocument): Promise<void> => {
    await session.putNetwork(namespaceId, next);
    document = next;
  };
  const data: IpamData[] = [];
  for (const pool of config.ipam?.pools ?? []) {
    const at = document.pools.length;
    const write = (next: PoolDocument): Promise<void> =>
      put({ ...document, pools: document.pools.toSpliced(at, 1, next) });
    data.push(await requestPool(session, config, pool, ipamRef(config, driver), write));
  }
  if (config.ipam === undefined) append(data, given);
  // Docker's IPAM driver `null` reports the same, for an engine that leaves addresses to the driver.
  if (data.length === 0) data.push({ AddressSpace: 'null', Pool: '0.0.0.0/0' });
  await put({ ...document, created: 'asked' });
  const remote = await session.driver(driver, 'NetworkDriver');
  await remote.call('NetworkDriver.CreateNetwork', {
    NetworkID: document.id,
    Options: {
      [netLabels.enableIpv4]: data.some(({ Pool }) => !Pool.includes(':')),
      [netLabels.enableIpv6]: data.some(({ Pool }) => Pool.includes(':')),
      ...(config.internal && { [netLabels.internal]: true }),
      [netLabels.generic]: {
        ...config.driverOptions,
        ...(config.mtu !== undefined && { [netLabels.mtu]: String(config.mtu) }),
      },
    },
    IPv4Data: data.filter(({ Pool }) => !Pool.includes(':')),
    IPv6Data: data.filter(({ Pool }) => Pool.includes(':')),
  });
  await put({ ...document, created: 'made' });
  return document;
}

function poolOf({ address, gateway }: CniResult['ips'][number]): IpamData {
  const prefix = parsePrefix(address);
  if (prefix === undefined) throw new Error(`the address plugin gave ${address}`);
  return {
    AddressSpace: '',
    Pool: `${formatIp(networkOf(prefix))}/${prefix.length}`,
    ...(gateway !== undefined && { Gateway: `${gateway}/${prefix.length}` }),
  };
}

async function requestPool(
  session: Session,
  config: CnmConfig,
  { pool, subPool, gateway, v6, auxiliary }: RemotePool,
  ref: DriverRef,
  write: (document: PoolDocument) => Promise<void>,
): Promise<IpamData> {
  const ipam = await session.driver(ref, 'IpamDriver');
  const { addressSpace: wantedSpace = '', options = {} } = config.ipam ?? {};
  const space =
    wantedSpace === ''
      ? (await ipam.call('IpamDriver.GetDefaultAddressSpaces', {})).LocalDefaultAddressSpace
      : wantedSpace;
  const request = { AddressSpace: text(space), Pool: pool, SubPool: subPool, Options: options, V6: v6 };
  await write({ driver: ref, request });
  const reply = await ipam.call('IpamDriver.RequestPool', request);
  const block = parsePrefix(text(reply.Pool));
  if (text(reply.PoolID) === '' || block === undefined)
    throw driverProtocol(
      ref.name,
      'IpamDriver.RequestPool',
      `no pool is ${JSON.stringify(reply).slice(0, 200)}`,
    );
  const given = { poolId: reply.PoolID, pool: `${formatIp(networkOf(block))}/${block.length}` };
  // The driver may name the gateway together with the pool; then it holds that address itself.
  const named = parsePrefix(
    text((reply.Data as Readonly<Record<string, unknown>> | undefined)?.[gatewayAddress]),
  );
  if (gateway === '' && named !== undefined) {
    const own = `${formatIp(named.address)}/${named.length}`;
    await write({ driver: ref, request, given, gateway: own });
    return { AddressSpace: request.AddressSpace, Pool: given.pool, Gateway: own, AuxAddresses: auxiliary };
  }
  await write({ driver: ref, request, given });
  const answer = await ipam.call('IpamDriver.RequestAddress', {
    PoolID: given.poolId,
    Address: gateway,
    Options: { [netLabels.requestAddressType]: gatewayAddress },
  });
  const own = addressIn(answer.Address, ref.name, 'IpamDriver.RequestAddress', given.pool);
  await write({ driver: ref, request, given, gateway: own, gatewayHeld: true });
  return { AddressSpace: request.AddressSpace, Pool: given.pool, Gateway: own, AuxAddresses: auxiliary };
}

/** Parses an address in CIDR form. @param pool the block that must contain it; undefined: any */
function addressIn(value: unknown, driver: string, verb: string, pool?: string): string {
  const prefix = parsePrefix(text(value));
  const block = pool === undefined ? undefined : parsePrefix(pool);
  if (prefix === undefined || (block !== undefined && !contains(block, prefix.address)))
    throw driverProtocol(
      driver,
      verb,
      `${JSON.stringify(value ?? null)} is no address with a length${pool === undefined ? '' : ` of ${pool}`}`,
    );
  return `${formatIp(prefix.address)}/${prefix.length}`;
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '');

/**
 * Creates the endpoint, joins it, and sets up link and ports. What a failure leaves is recorded.
 * @param leased the result of the IPAM plugin
 */
export async function makeEndpoint(
  session: Session,
  config: CnmConfig,
  {
    document: network,
    call,
    leased,
    at,
  }: { document: NetworkDocument; call: PluginCall; leased: CniResult; at: Omit<Endpoint, 'document'> },
): Promise<CniResult> {
  let document = newEndpoint(network, call);
  const put = async (change: Partial<EndpointDocument>): Promise<void> => {
    document = { ...document, ...change };
    await session.putEndpoint(at, document);
  };
  const driver = await session.driver(network.driver, 'NetworkDriver');
  const [ids, mac] = [
    { NetworkID: network.id, EndpointID: document.id },
    await macFor(session, config, network, call),
  ];
  for (const [index, pool] of network.pools.entries()) {
    const own = (next: AddressDocument): Promise<void> =>
      put({ addresses: document.addresses.toSpliced(index, 1, next) });
    await requestAddress(session, config, pool, mac, own);
  }
  const known =
    config.ipam === undefined
      ? leased.ips.map(({ address }) => address)
      : document.addresses.flatMap(({ given = '' }) => given);
  const wanted = {
    Address: known.find((address) => !address.includes(':')) ?? '',
    AddressIPv6: known.find((address) => address.includes(':')) ?? '',
    MacAddress: mac,
  };
  await put({ created: 'asked' });
  const options = {
    ...portOptions(config),
    ...(mac !== '' && { [netLabels.macAddress]: macBase64(mac) }),
    ...config.endpointOptions,
  };
  const created = await driver.call('NetworkDriver.CreateEndpoint', {
    ...ids,
    Interface: wanted,
    Options: options,
  });
  await put({ created: 'made' });
  const own = endpointInterface(driver.name, wanted, created);
  await put({ joined: 'asked' });
  const joined = await driver.call('NetworkDriver.Join', {
    ...ids,
    SandboxKey: call.netns,
    Options: options,
  });
  await put({ joined: 'made' });
  const result = await session.engine.callPlugin({
    ...call,
    verb: 'finish',
    caller: session.actingIn(driver),
    joined: joinedOf(driver.name, own, joined, leased),
  });
  if (result === undefined) throw new Error('a call that ends with a result was taken for one without');
  if (config.portMappings.length > 0 || text(joined.Gateway) !== '' || text(joined.GatewayIPv6) !== '') {
    await put({ external: 'asked' });
    await programPorts(driver, config, { ...ids, Options: options });
    await put({ external: 'made' });
  }
  await put({ state: 'ready' });
  return result;
}

/**
 * Publishes ports. A driver without the verb publishes nothing, which is an error only if there are ports to
 * publish.
 */
async function programPorts(
  driver: Awaited<ReturnType<Session['driver']>>,
  { portMappings }: CnmConfig,
  request: Parameters<typeof driver.call>[1],
): Promise<void> {
  try {
    await driver.call('NetworkDriver.ProgramExternalConnectivity', request as never);
  } catch (thrown) {
    if (portMappings.length > 0 || !hasCode(thrown, 'NETWORK_CNM_VERB_UNKNOWN')) throw thrown;
  }
}

export const newEndpoint = (
  network: Pick<NetworkDocument, 'driver' | 'id'>,
  { key, netns, config, path }: PluginCall,
): EndpointDocument => ({
  id: endpointIdOf(network.id, key),
  networkId: network.id,
  driver: network.driver,
  state: 'making',
  netns,
  config,
  path,
  addresses: [],
});

/**
 * Chooses a MAC address if the caller requested one, or if the IPAM driver must know it before it assigns an
 * address.
 */
async function macFor(
  session: Session,
  config: CnmConfig,
  { driver }: NetworkDocument,
  { key }: PluginCall,
): Promise<string> {
  if (config.mac !== undefined || config.ipam === undefined) return config.mac ?? '';
  const ipam = await session.driver(ipamRef(config, driver), 'IpamDriver');
  try {
    return (await ipam.call('IpamDriver.GetCapabilities', {})).RequiresMACAddress ? macOf('cnm', key) : '';
  } catch (thrown) {
    if (hasCode(thrown, 'NETWORK_CNM_VERB_UNKNOWN')) return '';
    throw thrown;
  }
}

async function requestAddress(
  session: Session,
  config: CnmConfig,
  { driver: ref, given }: PoolDocument,
  mac: string,
  write: (document: AddressDocument) => Promise<void>,
): Promise<void> {
  if (given === undefined) return;
  const ipam = await session.driver(ref, 'IpamDriver');
  const block = parsePrefix(given.pool);
  const wanted = config.wantedIps.find((address) => {
    const parsed = parseIp(address);
    return (
      block !== undefined &&
      parsed !== undefined &&
      parsed.family === block.address.family &&
      contains(block, parsed)
    );
  });
  const request = {
    PoolID: given.poolId,
    Address: wanted ?? '',
    Options: mac === '' ? {} : { [netLabels.macAddress]: mac },
  };
  // An address that is requested explicitly counts as held even if no answer arrives.
  await write({ driver: ref, request, ...(wanted !== undefined && { given: wanted }) });
  const { Address } = await ipam.call('IpamDriver.RequestAddress', request);
  await write({
    driver: ref,
    request,
    given: addressIn(Address, ref.name, 'IpamDriver.RequestAddress', given.pool),
  });
}

const protocols = { tcp: 6, udp: 17, sctp: 132 } as const;

/** Describes ports as docker does for `-p`. */
const portOptions = ({ portMappings }: CnmConfig): object => ({
  [netLabels.exposedPorts]: portMappings.map(({ protocol, containerPort }) => ({
    Proto: protocols[protocol],
    Port: containerPort,
  })),
  [netLabels.portMap]: portMappings.map(({ protocol, containerPort, hostPort, hostIp = '' }) => ({
    Proto: protocols[protocol],
    IP: '',
    Port: containerPort,
    HostIP: hostIp,
    HostPort: hostPort,
    HostPortEnd: hostPort,
  })),
});

/** Go's net.HardwareAddr is a byte slice, which JSON encodes in base64. */
const macBase64 = (mac: string): string => Buffer.from(mac.replaceAll(':', ''), 'hex').toString('base64');

interface OwnInterface {
  readonly mac: string;
  readonly addresses: readonly string[];
}

/**
 * Merges the values that were chosen before with those of the driver, which must not choose a value again.
 */
function endpointInterface(
  driver: string,
  wanted: { readonly Address: string; readonly AddressIPv6: string; readonly MacAddress: string },
  { Interface: chosen }: CreateEndpointReply,
): OwnInterface {
  const verb = 'NetworkDriver.CreateEndpoint';
  const one = (name: keyof typeof wanted, read: (value: string) => string): string => {
    const answer = text(chosen?.[name]);
    const value = answer === '' ? '' : read(answer);
    if (value !== '' && wanted[name] !== '' && value !== wanted[name])
      throw driverProtocol(
        driver,
        verb,
        `it answers with the ${name} ${value}, and was given ${wanted[name]}`,
      );
    return value === '' ? wanted[name] : value;
  };
  const mac = one('MacAddress', (value) => {
    const parsed = parseMac(value);
    if (parsed === undefined)
      throw driverProtocol(driver, verb, `${JSON.stringify(value)} is no MAC address of one interface`);
    return parsed;
  });
  const addresses = (['Address', 'AddressIPv6'] as const).map((name) =>
    one(name, (value) => addressIn(value, driver, verb)),
  );
  return { mac, addresses: addresses.filter((address) => address !== '') };
}

const linkName = /^(?!\.{1,2}$)[^\s/:%]{1,15}$/u;

function joinedOf(
  driver: string,
  { mac, addresses }: OwnInterface,
  reply: JoinReply,
  leased: CniResult,
): CnmJoined {
  const wrong = (why: string): Error => driverProtocol(driver, 'NetworkDriver.Join', why);
  const link = text(reply.InterfaceName?.SrcName);
  if (!linkName.test(link))
    throw wrong(`InterfaceName.SrcName ${JSON.stringify(link)} is no link that a pod could have`);
  const gateway = (value: unknown, family: 4 | 6): string | undefined => {
    if (text(value) === '') return undefined;
    const parsed = parseIp(text(value).replace(/\/\d{1,3}$/u, ''));
    if (parsed?.family !== family) throw wrong(`${JSON.stringify(value)} is no gateway of IPv${family}`);
    return formatIp(parsed);
  };
  const [four, six] = [gateway(reply.Gateway, 4), gateway(reply.GatewayIPv6, 6)];
  const defaults: CniRoute[] = [
    ...(four === undefined ? [] : [{ dst: '0.0.0.0/0', gw: four }]),
    ...(six === undefined ? [] : [{ dst: '::/0', gw: six }]),
  ];
  const fixed = (Array.isArray(reply.StaticRoutes) ? reply.StaticRoutes : []).flatMap((route): CniRoute[] => {
    const { Destination, RouteType, NextHop } = (route ?? {}) as unknown as Record<string, unknown>;
    const prefix = parsePrefix(text(Destination));
    const hop = text(NextHop) === '' ? undefined : parseIp(text(NextHop));
    if (prefix === undefined || (RouteType !== 1 && hop?.family !== prefix.address.family))
      throw wrong(`${JSON.stringify(route)} is no static route`);
    const dst = `${formatIp(networkOf(prefix))}/${prefix.length}`;
    return RouteType === 1 || hop === undefined ? [{ dst, scope: 253 }] : [{ dst, gw: formatIp(hop) }];
  });
  const own = [...defaults, ...fixed.filter(({ dst }) => !defaults.some((each) => each.dst === dst))];
  const rest = leased.routes.filter(
    ({ dst, gw }) => gw !== undefined && !own.some((each) => each.dst === dst),
  );
  return {
    link,
    mac,
    addresses: addresses.map((address) => {
      const via = address.includes(':') ? six : four;
      return { address, ...(via !== undefined && { gateway: via }) };
    }),
    routes: [...own, ...rest],
  };
}
