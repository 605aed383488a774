import type { PluginCall } from '../../calls/plugin-call.ts';
import type { CnmConfig } from '../../plugins/cnm/config.ts';
import type { CnmJoined } from '../../plugins/cnm/plugin.ts';
import { netLabels } from '../protocol/protocol.ts';
import type { CreateEndpointReply, JoinReply } from '../protocol/protocol.ts';
import { parseMac } from '../../plugins/interface/settings.ts';
import { formatIp, networkOf, parseIp, parsePrefix } from '../../../base/addresses/index.ts';
import type { CniResult, CniRoute } from '../../spec/result.ts';
import { endpointIdOf } from './documents.ts';
import type { AddressDocument, EndpointDocument, NetworkDocument } from './documents.ts';
import { driverProtocol } from './failures.ts';
import { hasCode } from './session.ts';
import type { Endpoint, Session } from './session.ts';
import { macFor, requestAddress, addressIn, text } from './request-address.ts';
import { portOptions, macBase64 } from './endpoint-options.ts';

/**
 * Creates the endpoint, joins it, and sets up link and ports. Each request is recorded before it is sent, so
 * that what a failure leaves is known (libnetwork, docs/remote.md and docs/ipam.md).
 * @param leased the result of the IPAM plugin
 */
export async function createEndpoint(
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
        `it answered with the ${name} ${value} instead of the requested ${wanted[name]}`,
      );
    return value === '' ? wanted[name] : value;
  };
  const mac = one('MacAddress', (value) => {
    const parsed = parseMac(value);
    if (parsed === undefined)
      throw driverProtocol(driver, verb, `${JSON.stringify(value)} is not a MAC address of one interface`);
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
    throw wrong(`InterfaceName.SrcName ${JSON.stringify(link)} is not a link that a pod could have`);
  const gateway = (value: unknown, family: 4 | 6): string | undefined => {
    if (text(value) === '') return undefined;
    const parsed = parseIp(text(value).replace(/\/\d{1,3}$/u, ''));
    if (parsed?.family !== family) throw wrong(`${JSON.stringify(value)} is not a gateway of IPv${family}`);
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
      throw wrong(`${JSON.stringify(route)} is not a static route`);
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
