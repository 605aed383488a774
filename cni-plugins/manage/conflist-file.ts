import { createHash, randomUUID } from 'node:crypto';
import { linkSync, mkdirSync, mkdtempSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { failure, isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import { makeFolderSync, storageFailure } from '../../base/storage/index.ts';
import { networksIn } from '../networks/networks.ts';
import { bareType } from '../calls/plugin-type.ts';
import { contains, formatIp, lastOf, networkOf, parseIp, parsePrefix } from '../../base/addresses/index.ts';
import type { IpPrefix } from '../../base/addresses/index.ts';
import { zoneOf } from '../spec/domain.ts';
import { dropAbandonedDrafts } from './abandoned-drafts.ts';
import { withFolderLock } from './folder-lock.ts';
import { hostAddresses, removeIdleBridges } from './host-links.ts';
import { defaultBridge, readNetworkReport } from './report.ts';
import type { ReportedNetwork, ReportSource } from './report.ts';
import { networkUnknown } from './connect-failures.ts';

export interface NewNetwork {
  readonly name: string;
  readonly type: 'bridge' | 'ipvlan' | 'macvlan' | 'ptp';
  /** CIDR blocks. A pod gets one address from each. */
  readonly subnets: readonly string[];
  /** In the order of the subnets. A subnet without a gateway uses its first address. */
  readonly gateways: readonly string[];
  readonly mtu?: number;
  /** For bridge: the name of the bridge. For macvlan and ipvlan: the link of the host. */
  readonly link?: string;
  readonly masquerade: boolean;
  /** For bridge: pods on other separated bridges do not reach its pods, and its pods do not reach them. */
  readonly separated: boolean;
  /** For bridge: its pods have no way out, and no client outside has a way in. */
  readonly internal: boolean;
  /** Kubernetes namespaces whose pods may request the network by annotation; `*` means all. */
  readonly podNamespaces: readonly string[];
  /** The prefix of the file name. Files are read in lexicographic order. */
  readonly order: string;
}

/**
 * Longest name of a network. The name is part of file names, which have at most 255 bytes, together with the
 * pod's id and interface.
 */
const longestName = 150;

/** The configuration of a network that can be written. */
interface PlannedNetwork {
  readonly file: string;
  readonly text: string;
  readonly bridges: readonly string[];
}

/**
 * Returns the configuration that {@link createNetwork} would write, after the same checks.
 * @throws the errors of {@link createNetwork}
 */
export function planNetwork(source: ReportSource, wanted: NewNetwork): PlannedNetwork {
  const { confDir } = source;
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/u.test(wanted.name))
    throw invalid(
      wanted.name,
      'a name consists of letters, digits, _, . and -, and begins with a letter or digit',
    );
  if (wanted.name.length > longestName)
    throw invalid(wanted.name.slice(0, 20) + '…', `a name has ${longestName} characters at most`);
  if (!/^[a-zA-Z0-9_.]*$/u.test(wanted.order))
    throw invalid(wanted.name, `${JSON.stringify(wanted.order)} cannot begin the name of a file here`);
  if (wanted.internal && wanted.type !== 'bridge')
    throw invalid(wanted.name, 'only a network of the type bridge can be internal');
  refuseNames(wanted);
  const { networks } = readNetworkReport(source);
  const existing = networks.find(({ name, file }) => name === wanted.name && file !== undefined);
  if (existing !== undefined) throw exists(wanted.name, existing.file ?? confDir);
  refuseUnusable(wanted);
  refuseGateways(wanted);
  refuseOverlap(wanted, networks);
  const chosen = linkChosen(wanted, networks);
  refuseOwnAddress(chosen);
  const text = `${JSON.stringify(documentOf(chosen), null, 2)}\n`;
  refuseUnreadable(wanted.name, text);
  return {
    file: join(confDir, `${wanted.order}-${wanted.name}.conflist`),
    text,
    bridges: wanted.type === 'bridge' ? [chosen.link ?? defaultBridge] : [],
  };
}

/**
 * Writes a configuration of our plugins that this engine can read. The write is atomic and never overwrites
 * another file.
 * @returns the path of the file
 * @throws NETWORK_EXISTS · NETWORK_SUBNET_TAKEN · any error that reading the file throws
 */
export function createNetwork(source: ReportSource, wanted: NewNetwork): string {
  // A network that is refused creates no folder.
  planNetwork(source, wanted);
  makeFolderSync(source.confDir, 0o755);
  // Two commands at once would both find the same subnet free.
  return withFolderLock(source.confDir, () =>
    write(source.confDir, wanted.name, planNetwork(source, wanted)),
  );
}

function write(confDir: string, name: string, { file, text }: PlannedNetwork): string {
  dropAbandonedDrafts(confDir);
  // The draft has a folder of its own, inside the conf folder, so that one link call publishes the file.
  const draft = join(confDir, `.${randomUUID()}`);
  try {
    mkdirSync(draft, { mode: 0o700 });
    const written = join(draft, `${name}.conflist`);
    writeFileSync(written, text, { mode: 0o644, flush: true });
    try {
      linkSync(written, file);
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code === 'EEXIST') throw exists(name, file);
      throw thrown;
    }
  } catch (thrown) {
    throw storageFailure(thrown, `create the network ${name}`, file);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
  return file;
}

/**
 * Refuses a configuration that this engine could not read. It is checked in a place where no runtime reads
 * it.
 */
function refuseUnreadable(name: string, text: string): void {
  const draft = mkdtempSync(join(tmpdir(), 'portcullis-network-'));
  const written = join(draft, `${name}.conflist`);
  try {
    writeFileSync(written, text, { mode: 0o644 });
    networksIn(draft, { plugins: 'auto', maxConfigs: 1 });
  } catch (thrown) {
    if (!isPortcullisError(thrown)) throw storageFailure(thrown, 'write a temporary file', written);
    // The positions refer to the draft file, which the user never sees.
    throw invalid(
      name,
      reasonOf(thrown)
        .replaceAll(`${written}:`, '')
        .replaceAll(/^\d+:\d+: /gmu, ''),
    );
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
}

export interface RemovedNetwork {
  readonly file: string;
  /** Links of the host that were removed with the network. */
  readonly bridges: readonly string[];
}

/**
 * Removes a network and its bridges if our plugins created them and nothing else uses them.
 * @throws NETWORK_UNKNOWN · NETWORK_IN_USE · the kernel's refusal
 */
export function removeNetwork(source: ReportSource, name: string): RemovedNetwork {
  const network = requireNetwork(source, name);
  const { attachments, file } = network;
  if (attachments.length > 0) throw inUse(network);
  if (file === undefined) throw networkUnknown(name, source.confDir);
  unlinkSync(file);
  const used = new Set(readNetworkReport(source).networks.flatMap(({ bridges }) => bridges));
  return { file, bridges: removeIdleBridges(network.bridges.filter((bridge) => !used.has(bridge))) };
}

/**
 * Returns a network of the conf folder by its name.
 * @param report the report of `source`
 * @throws PortcullisError NETWORK_UNKNOWN
 */
export function requireNetwork(
  source: ReportSource,
  name: string,
  report = readNetworkReport(source),
): ReportedNetwork {
  const found = report.networks.find((network) => network.name === name);
  if (found === undefined) throw networkUnknown(name, source.confDir);
  return found;
}

/**
 * Returns the network that every pod gets: the first one of the folder. Returns undefined if the folder holds
 * no configuration.
 * @throws the other errors of reading the folder
 */
export function findPodNetwork({
  confDir,
  choice,
}: ReportSource): { readonly name: string; readonly file: string } | undefined {
  try {
    return networksIn(confDir, { ...choice, maxConfigs: 1 }).networks[0];
  } catch (thrown) {
    if (isPortcullisError(thrown) && thrown.code === 'NETWORK_NO_CONFLIST') return undefined;
    throw thrown;
  }
}

const overlap = (some: readonly string[], others: readonly string[]): boolean =>
  prefixesIn(some).some((one) =>
    prefixesIn(others).some((other) => contains(one, other.address) || contains(other, one.address)),
  );

const prefixesIn = (subnets: readonly string[]): IpPrefix[] =>
  subnets.flatMap((subnet) => parsePrefix(subnet) ?? []);

/** Refuses a link that could carry nothing of the network, and namespaces that no pod can have. */
function refuseNames({ name, type, link, podNamespaces }: NewNetwork): void {
  if (link === 'lo')
    throw invalid(name, 'lo is the loopback link of the host, to which no other link can be connected');
  if (link !== undefined && type === 'ptp')
    throw invalid(
      name,
      'a network of the type ptp has a link of its own for each pod, and takes no other link',
    );
  const wrong = podNamespaces.find((each) => each !== '*' && !isNamespaceName(each));
  if (wrong !== undefined)
    throw invalid(
      name,
      `${JSON.stringify(wrong)} is not the name of a namespace: lower-case letters, digits and -, at most 63, with a letter or digit at both ends; * means all`,
    );
}

/** Returns whether it is a DNS label (RFC 1123), as Kubernetes requires of namespaces. */
const isNamespaceName = (text: string): boolean => /^(?=.{1,63}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?$/u.test(text);

/** Ranges whose addresses cannot reach a pod (RFC 6890). */
const unusable = [
  { of: 'of this network alone', prefixes: ['0.0.0.0/8', '::/128'] },
  { of: 'of loopback', prefixes: ['127.0.0.0/8', '::1/128'] },
  { of: 'of multicast', prefixes: ['224.0.0.0/4', 'ff00::/8'] },
  { of: 'reserved', prefixes: ['240.0.0.0/4'] },
  { of: 'of one link only', prefixes: ['fe80::/10'] },
] as const;

function refuseUnusable({ name, subnets }: NewNetwork): void {
  for (const subnet of subnets)
    for (const { of, prefixes } of unusable)
      if (overlap([subnet], prefixes))
        throw invalid(name, `addresses of ${subnet} are ${of}: no pod could be reached through them`);
}

/** Refuses gateways that no pod could use, and those of no subnet. */
function refuseGateways({ name, subnets, gateways }: NewNetwork): void {
  if (gateways.length > subnets.length) throw invalid(name, 'there are more gateways than subnets');
  for (const [index, text] of gateways.entries()) {
    const [subnet] = prefixesIn(subnets.slice(index, index + 1));
    if (subnet?.address.family === 4 && parseIp(text)?.value === lastOf(subnet).value)
      throw invalid(name, `the gateway ${text} is the broadcast address of its subnet`);
  }
}

/**
 * Refuses overlapping subnets. The host routes a subnet to one link, so pods of another network with the same
 * addresses would be unreachable. Links below a master need no route.
 */
function refuseOverlap(
  { name, type, subnets, link }: NewNetwork,
  networks: readonly ReportedNetwork[],
): void {
  if (type !== 'bridge' && type !== 'ptp') return;
  for (const other of networks) {
    const routed =
      other.bridges.length > 0 || other.plugins.some((each) => bareType(each.split('/')[0] ?? '') === 'ptp');
    if (!routed || other.file === undefined || (link !== undefined && other.bridges.includes(link))) continue;
    const taken = other.subnets.find((each) => overlap([each], subnets));
    if (taken !== undefined)
      throw overlaps(name, `${taken} of the network ${other.name} (${other.file}) overlaps`);
  }
}

/**
 * Refuses a bridge with an address or subnet of another link of the host: one of the two would be
 * unreachable.
 */
function refuseOwnAddress({ name, type, subnets, link = defaultBridge }: NewNetwork): void {
  if (type !== 'bridge') return;
  for (const { link: other, address } of hostAddresses())
    if (other !== link && prefixesIn(subnets).some((own) => contains(own, address)))
      throw overlaps(name, `the host has its address ${formatIp(address)} on the link ${other}`);
}

/**
 * Chooses the bridge. Two networks on one bridge would be a single network, so the second network gets a
 * bridge of its own.
 */
function linkChosen(wanted: NewNetwork, networks: readonly ReportedNetwork[]): NewNetwork {
  if (wanted.type !== 'bridge' || wanted.link !== undefined) return wanted;
  if (!networks.some(({ bridges }) => bridges.includes(defaultBridge))) return wanted;
  return { ...wanted, link: `pcbr-${createHash('sha256').update(wanted.name).digest('hex').slice(0, 10)}` };
}

function documentOf({
  name,
  type,
  subnets,
  gateways,
  mtu,
  link,
  masquerade,
  separated,
  internal,
  podNamespaces,
}: NewNetwork): object {
  const ipam = {
    type: 'portcullis-ipam',
    ranges: subnets.map((subnet, index) => [
      { subnet, ...(gateways[index] !== undefined && { gateway: gateways[index] }) },
    ]),
    // A bridge that is the default gateway adds that route itself.
    ...(type !== 'bridge' && {
      routes: subnets.map((subnet) => ({ dst: subnet.includes(':') ? '::/0' : '0.0.0.0/0' })),
    }),
  };
  const common = { ...(mtu !== undefined && { mtu }), ipam };
  const first = {
    bridge: {
      type: 'portcullis-bridge',
      ...(link !== undefined && { bridge: link }),
      ...(internal ? { isGateway: true } : { isDefaultGateway: true }),
      ipMasq: masquerade && !internal,
      // The load balancer may connect a member of a service to the member itself.
      hairpinMode: true,
      // The result reports this to the caller: the gateways answer DNS queries.
      dns: {
        nameservers: subnets.flatMap((subnet, index) => gateways[index] ?? firstOf(subnet)),
        search: [zoneOf(name)],
      },
      ...common,
    },
    ptp: { type: 'portcullis-ptp', ipMasq: masquerade, ...common },
    macvlan: { type: 'portcullis-macvlan', ...(link !== undefined && { master: link }), ...common },
    ipvlan: { type: 'portcullis-ipvlan', ...(link !== undefined && { master: link }), ...common },
  }[type];
  const routed = (type === 'bridge' || type === 'ptp') && !internal;
  const policy = internal ? 'internal' : type === 'bridge' && separated ? 'same-bridge' : undefined;
  return {
    cniVersion: '1.0.0',
    name,
    ...(podNamespaces.length > 0 && { podNamespaces }),
    plugins: [
      {
        ...first,
        capabilities: {
          aliases: true,
          ips: true,
          services: true,
          ...(type !== 'ptp' && type !== 'ipvlan' && { mac: true }),
        },
      },
      ...(routed ? [{ type: 'portcullis-portmap', capabilities: { portMappings: true } }] : []),
      // Chains of other programs keep their own verdicts. Without these rules they would drop this traffic as
      // well.
      ...(policy === undefined
        ? []
        : [{ type: 'portcullis-firewall', ingressPolicy: policy, backend: 'nftables' }]),
    ],
  };
}

/**
 * Returns the default gateway of a subnet. Returns an empty list if the text is not a subnet; reading the
 * file reports that.
 */
function firstOf(subnet: string): string[] {
  const prefix = parsePrefix(subnet);
  if (prefix === undefined) return [];
  const { family, value } = networkOf(prefix);
  return [formatIp({ family, value: value + 1n })];
}

function exists(name: string, file: string): PortcullisError {
  return failure(
    'NETWORK_EXISTS',
    'already-exists',
    `create the network ${name}`,
    file,
    'it already exists',
    'give another name',
  );
}

function overlaps(name: string, why: string): PortcullisError {
  return failure(
    'NETWORK_SUBNET_TAKEN',
    'already-exists',
    'create the network',
    name,
    why,
    'give another subnet',
  );
}

function invalid(name: string, why: string): PortcullisError {
  return failure(
    'NETWORK_CONFLIST_INVALID',
    'invalid',
    'create the network',
    name,
    why,
    'correct the options; nothing was written',
  );
}

function inUse({ name, attachments }: ReportedNetwork): PortcullisError {
  const who = attachments
    .slice(0, 5)
    .map(
      ({ id, namespace, pod, connected }) =>
        connected ?? (pod === undefined ? id.slice(0, 13) : `${namespace ?? ''}/${pod}`),
    );
  const more = attachments.length > who.length ? ` and ${attachments.length - who.length} more` : '';
  return failure(
    'NETWORK_IN_USE',
    'precondition',
    'remove the network',
    name,
    `attached to it: ${who.join(', ')}${more}`,
    'stop these pods first, and disconnect all connected containers (portcullis network disconnect)',
  );
}
