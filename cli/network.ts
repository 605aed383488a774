import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { join, resolve } from 'node:path';
import type { PortcullisError } from '../base/errors/index.ts';
import { createLogger } from '../base/log/index.ts';
import {
  askNetwork,
  collectConnections,
  connectNetwork,
  createNetwork,
  defaultCniSocket,
  disconnectNetwork,
  forwardDroppers,
  readNetworkReport,
  removeNetwork,
  requireNetwork,
} from '../cni-plugins/index.ts';
import type { ConnectSource, NewNetwork, ReportedAttachment, ReportedNetwork, ReportSource } from '../cni-plugins/index.ts';
import { registerDockerDriver } from './network/docker-driver.ts';
import { registerOverlay } from './network/overlay.ts';
import { exitCodes, print, run, withOutput } from './output.ts';
import type { OutputFormat } from './output.ts';
import { collect } from './registry-options.ts';
import { shortId, table } from './table.ts';

interface Flags {
  readonly confDir: string;
  readonly root: string;
  readonly plugins: 'auto' | 'exec';
  readonly cniSocket: string;
  readonly output: OutputFormat;
}

interface CreateFlags extends Flags {
  readonly subnet?: readonly string[];
  readonly ipv6?: readonly string[];
  readonly gateway?: readonly string[];
  readonly mtu?: number;
  readonly type: NewNetwork['type'];
  readonly link?: string;
  readonly masquerade: boolean;
  readonly isolation: boolean;
  readonly internal: boolean;
  readonly podNamespace?: readonly string[];
  readonly order: string;
}

interface ConnectFlags extends Flags {
  readonly binDir?: readonly string[];
  readonly cacheDir: string;
  readonly ip?: readonly string[];
  readonly alias?: readonly string[];
  readonly ifname?: string;
  readonly mac?: string;
  readonly dockerSocket?: string;
  readonly service?: string;
  readonly servicePort?: readonly string[];
  readonly ingressPort?: readonly string[];
  readonly serviceAlias?: readonly string[];
  readonly serviceIp?: readonly string[];
  readonly endpointMode?: 'vip' | 'dnsrr';
}

/** `portcullis network`: the networks of pods, from configuration and database, and what the daemon adds where it runs. */
export function register(program: Command): void {
  const network = program.command('network').description('the networks of pods: list, create, inspect, remove, collect what nobody claims');
  registerOverlay(network);
  withSource(network.command('ls').description('list networks with their plugins, subnets, attachments and leases'))
    .addHelpText(
      'after',
      '\nExits with 1 when no network can be used.\n\nExamples:\n  $ portcullis network ls\n  $ portcullis network ls --output json',
    )
    .action((flags: Flags) => run(flags.output, () => Promise.resolve(list(flags))));
  withSource(
    network.command('create').description('write the configuration of a network of our plugins').argument('<name>', 'of the network'),
  )
    .option('--subnet <cidr>', 'pods get one address of each; may be repeated', collect)
    .option('--ipv6 <cidr>', 'the same, for IPv6 beside it', collect)
    .option('--gateway <address>', 'of each subnet in their order; without it the first address', collect)
    .option('--mtu <bytes>', "of the pods' interfaces; without it that of the default route's link", whole)
    .addOption(
      new Option('--type <type>', 'the plugin that makes the interface').choices(['bridge', 'ptp', 'macvlan', 'ipvlan']).default('bridge'),
    )
    .option('--link <name>', 'of bridge: its name (cni0 without); of macvlan and ipvlan: the link of the host')
    .option('--no-masquerade', 'what leaves the subnets keeps its address')
    .option('--no-isolation', 'of bridge: other bridges that are separated reach its pods')
    .option('--internal', 'of bridge: its pods have no way out, and nobody outside has one in', false)
    .option('--pod-namespace <name>', 'whose pods may ask for it by annotation; * for all; may be repeated', collect)
    .option('--order <text>', "the beginning of the file's name: the first file by name is the pods' network", '50')
    .addHelpText(
      'after',
      '\nThe file is judged before it is there, and never replaces another.\n\nExamples:\n  $ portcullis network create pods --subnet 10.88.0.0/16 --ipv6 fd00:88::/64\n  $ portcullis network create lan --type macvlan --link eth1 --subnet 192.0.2.0/24 --gateway 192.0.2.1 --mtu 9000',
    )
    .action((name: string, flags: CreateFlags, command: Command) => {
      if ((flags.subnet ?? flags.ipv6) === undefined) command.error('error: give --subnet or --ipv6', { exitCode: exitCodes.usage });
      return run(flags.output, () => Promise.resolve(create(name, flags)), exitCodeOf);
    });
  withSource(network.command('inspect').description('show a network: configuration, who is attached, what was denied').argument('<name>'))
    .addHelpText('after', '\nExamples:\n  $ portcullis network inspect pods\n  $ portcullis network inspect pods --output json')
    .action((name: string, flags: Flags) => run(flags.output, () => inspect(name, flags), exitCodeOf));
  withSource(network.command('rm').description('remove the configuration of a network that nothing is attached to').argument('<name>'))
    .addHelpText('after', '\nExits with 1 while something is attached.\n\nExamples:\n  $ portcullis network rm pods')
    .action((name: string, flags: Flags) => run(flags.output, () => Promise.resolve(remove(name, flags)), exitCodeOf));
  withConnections(
    network
      .command('connect')
      .description('give something that runs one more interface, on a network')
      .argument('<network>')
      .argument('<target>', 'a pod (NAMESPACE/NAME, NAME or id), the path of a network namespace, pid:NUMBER, or docker://NAME'),
  )
    .option('--ip <address>', 'that it shall have; may be repeated', collect)
    .option('--alias <name>', 'by which others on the network find it; may be repeated', collect)
    .option('--ifname <name>', 'of the interface; without it the first ethN that is free')
    .option('--mac <address>', 'of the interface')
    .option('--service <name>', 'of the network, to join as a member')
    .option('--service-port <port>', 'PORT, PORT:TARGET or PORT:TARGET/PROTOCOL at its virtual address; may be repeated', collect)
    .option('--ingress-port <port>', 'the same, at every address of the host; may be repeated', collect)
    .option('--service-alias <name>', 'a further name of the service; may be repeated', collect)
    .option('--service-ip <address>', 'the virtual address that it shall have; may be repeated', collect)
    .addOption(
      new Option('--endpoint-mode <mode>', 'of the service: one virtual address, or its name with all members').choices(['vip', 'dnsrr']),
    )
    .option('--docker-socket <path>', "of docker's API, for docker://NAME; /run/docker.sock without")
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis network connect shop default/web --alias front\n  $ portcullis network connect shop /run/netns/blue --ip 10.90.0.9\n  $ portcullis network connect shop pid:4242 --ifname eth9\n  $ portcullis network connect shop docker://web\n  $ portcullis network connect shop default/web --service front --service-port 80:8080',
    )
    .action((name: string, target: string, flags: ConnectFlags) => run(flags.output, () => connect(name, target, flags), exitCodeOf));
  withConnections(
    network
      .command('disconnect')
      .description('take back what connect made')
      .argument('<network>')
      .argument('<target>', 'as it was given to connect'),
  )
    .option('--docker-socket <path>', "of docker's API, for docker://NAME; /run/docker.sock without")
    .addHelpText('after', '\nExamples:\n  $ portcullis network disconnect shop default/web')
    .action((name: string, target: string, flags: ConnectFlags) => run(flags.output, () => disconnect(name, target, flags), exitCodeOf));
  withConnections(
    network
      .command('gc')
      .description('have the daemon remove attachments, links, rules and addresses of no pod, and bring back what was lost'),
  )
    .addHelpText('after', '\nThe daemon does the same at each start.\n\nExamples:\n  $ portcullis network gc')
    .action((flags: ConnectFlags) => run(flags.output, () => gc(flags)));
  registerDockerDriver(network);
}

function withSource(command: Command): Command {
  return withOutput(command)
    .option('--conf-dir <dir>', 'folder of network configurations', '/etc/cni/net.d')
    .option('--root <dir>', "the daemon's root folder, with network.db", '/var/lib/portcullis')
    .addOption(new Option('--plugins <how>', "the daemon's setting network.plugins").choices(['auto', 'exec']).default('auto'))
    .option('--cni-socket <path>', 'where the daemon answers (its setting cni.socket)', defaultCniSocket);
}

function withConnections(command: Command): Command {
  return withSource(command)
    .option('--bin-dir <dir>', 'folder of plugins of others; may be repeated', collect)
    .option('--cache-dir <dir>', "the daemon's setting network.cacheDir", '/var/lib/cni');
}

function whole(text: string): number {
  if (!/^\d{1,6}$/u.test(text)) throw new InvalidArgumentError('It must be a whole number.');
  return Number(text);
}

function exitCodeOf({ code }: PortcullisError): number | undefined {
  return [
    'NETWORK_IN_USE',
    'NETWORK_EXISTS',
    'NETWORK_SUBNET_TAKEN',
    'NETWORK_UNKNOWN',
    'NETWORK_NOT_CONNECTED',
    'NETWORK_ALREADY_CONNECTED',
    'NETWORK_TARGET_UNKNOWN',
  ].includes(code)
    ? exitCodes.no
    : undefined;
}

const sourceOf = ({ confDir, root, plugins }: Flags): ReportSource => ({
  databasePath: join(resolve(root), 'network.db'),
  confDir: resolve(confDir),
  choice: { plugins, maxConfigs: 1 },
});

function list(flags: Flags): number {
  const report = readNetworkReport(sourceOf(flags));
  const rows = report.networks.map((network) => [
    network.name,
    stateOf(network),
    network.plugins.join(' → '),
    network.subnets.join(', '),
    classesOf(network),
    String(network.attachments.length),
    leasesOf(network),
    network.file ?? '',
  ]);
  const problems = report.problems.map((problem) => `passed over: ${problem}\n`).join('');
  print(
    flags.output,
    report,
    `${table(['NETWORK', 'RUN', 'PLUGINS', 'SUBNETS', 'CLASSES', 'ATTACHED', 'LEASES', 'FILE'], rows)}${problems}`,
  );
  return report.networks.some(({ file }) => file !== undefined) ? exitCodes.yes : exitCodes.no;
}

const ways: Readonly<Record<string, string>> = { core: 'in process', 'in-process': 'in process', exec: 'programs' };
const stateOf = ({ way }: ReportedNetwork): string => (way === undefined ? 'removed' : (ways[way] ?? way));
const classesOf = ({ classes }: ReportedNetwork): string => (classes ?? '').replace('-', ' ');
const leasesOf = ({ leases: { used, ranges }, way }: ReportedNetwork): string =>
  way === 'exec'
    ? ''
    : (ranges ?? [{ used, size: undefined }])
        .map(
          (range) =>
            `${range.used}${range.size === undefined ? '' : ` of ${Number.isSafeInteger(range.size) ? range.size : range.size.toExponential(1)}`}`,
        )
        .join(', ');

function create(name: string, flags: CreateFlags): number {
  const {
    subnet = [],
    ipv6 = [],
    gateway = [],
    mtu,
    type,
    link,
    masquerade,
    isolation,
    internal,
    podNamespace = [],
    order,
    output,
  } = flags;
  const file = createNetwork(sourceOf(flags), {
    name,
    type,
    subnets: [...subnet, ...ipv6],
    gateways: gateway,
    ...(mtu !== undefined && { mtu }),
    ...(link !== undefined && { link }),
    masquerade,
    separated: isolation,
    internal,
    podNamespaces: podNamespace,
    order,
  });
  print(output, { name, file }, `${file}\n`);
  if (type === 'bridge' || type === 'ptp') tellDropped(requireNetwork(sourceOf(flags), name).bridges);
  return exitCodes.yes;
}

/** A network that is right and yet carries nothing, since another one's chain drops it, would be a riddle. */
function tellDropped(bridges: readonly string[]): void {
  if (process.getuid?.() !== 0) return;
  const droppers = forwardDroppers();
  if (droppers.length === 0) return;
  const rules = bridges.flatMap((bridge) => [
    `  iptables -I DOCKER-USER -i ${bridge} -j ACCEPT`,
    `  iptables -I DOCKER-USER -o ${bridge} -m conntrack --ctstate DNAT,RELATED,ESTABLISHED -j ACCEPT`,
  ]);
  const how = rules.length === 0 ? 'accept the network there' : `accept the network there; with docker:\n${rules.join('\n')}`;
  process.stderr.write(`note: ${droppers.join(', ')} drops what is forwarded unless it is accepted there: ${how}\n`);
}

interface Denials {
  readonly denials: readonly {
    readonly network: string;
    readonly id: string;
    readonly direction: string;
    readonly rule: string;
    readonly packets: string;
  }[];
}

async function inspect(name: string, flags: Flags): Promise<number> {
  const network = requireNetwork(sourceOf(flags), name);
  const answer = await askNetwork<Denials>(flags.cniSocket, 'denials');
  const denials = 'why' in answer ? undefined : answer.value.denials.filter((each) => each.network === name);
  const value = { ...network, ...('why' in answer ? { daemon: answer.why } : { denials }) };
  const lines = [
    `network   ${network.name}`,
    `file      ${network.file ?? 'none any more'}`,
    `plugins   ${network.plugins.join(' → ')} (CNI ${network.cniVersion ?? '?'}, ${stateOf(network)})`,
    `subnets   ${network.subnets.join(', ')}`,
    `leases    ${leasesOf(network)}`,
    ...('why' in answer ? [`denied    not known: ${answer.why}`] : []),
  ];
  print(
    flags.output,
    value,
    `${lines.map((line) => `${line.trimEnd()}\n`).join('')}\n${attachmentsOf(network.attachments, denials)}${servicesOf(network)}`,
  );
  return exitCodes.yes;
}

function attachmentsOf(attachments: readonly ReportedAttachment[], denials: Denials['denials'] = []): string {
  if (attachments.length === 0) return 'nothing is attached\n';
  const rows = attachments.map((each) => [
    shortId(each.id),
    each.interface,
    each.pod === undefined ? 'of another runtime' : `${each.namespace ?? ''}/${each.pod}`,
    each.addresses.join(', '),
    each.state,
    each.class ?? '',
    each.rules === undefined
      ? ''
      : Object.entries(each.rules)
          .map(([direction, rules]) => `${direction} ${Array.isArray(rules) ? rules.length : 0}`)
          .join(', '),
    denials
      .filter(({ id }) => id === each.id)
      .map(({ direction, rule, packets }) => `${direction} ${rule}: ${packets}`)
      .join(', '),
  ]);
  return table(['ID', 'INTERFACE', 'POD', 'ADDRESSES', 'STATE', 'CLASS', 'RULES', 'DENIED PACKETS'], rows);
}

function servicesOf({ services }: ReportedNetwork): string {
  if (services.length === 0) return '';
  const rows = services.map(({ name, mode, addresses, ingressPorts, members }) => [
    name,
    mode,
    addresses.join(', '),
    ingressPorts.join(', '),
    members.map(({ id, addresses: own, host }) => `${shortId(id)}${host === undefined ? '' : ` on ${host}`} ${own.join(' ')}`).join(', '),
  ]);
  return `\n${table(['SERVICE', 'MODE', 'VIRTUAL ADDRESSES', 'INGRESS', 'MEMBERS'], rows)}`;
}

function remove(name: string, flags: Flags): number {
  const file = removeNetwork(sourceOf(flags), name);
  print(flags.output, { name, file }, `removed ${file}\n`);
  return exitCodes.yes;
}

const connectionsOf = (flags: ConnectFlags): ConnectSource => ({
  ...sourceOf(flags),
  binDirs: flags.binDir ?? ['/opt/cni/bin', '/usr/lib/cni'],
  cacheDir: resolve(flags.cacheDir),
  ...(flags.dockerSocket !== undefined && { dockerSocket: resolve(flags.dockerSocket) }),
  log: createLogger({ level: 'warn' }),
});

async function connect(name: string, target: string, flags: ConnectFlags): Promise<number> {
  const { ip = [], alias = [], ifname, mac } = flags;
  const { connection, result } = await connectNetwork(connectionsOf(flags), name, {
    target,
    ips: ip,
    aliases: alias,
    ...(ifname !== undefined && { interface: ifname }),
    ...(mac !== undefined && { mac }),
    ...membershipOf(flags),
  });
  const addresses = result.ips.map(({ address }) => address);
  print(flags.output, { ...connection, addresses, result }, `${connection.interface} ${addresses.join(' ')}\n`);
  return exitCodes.yes;
}

function membershipOf({ service, servicePort, ingressPort, serviceAlias, serviceIp, endpointMode }: ConnectFlags): {
  readonly services?: readonly object[];
} {
  const rest = {
    ...(endpointMode !== undefined && { mode: endpointMode }),
    ...(servicePort !== undefined && { ports: servicePort }),
    ...(ingressPort !== undefined && { ingressPorts: ingressPort }),
    ...(serviceAlias !== undefined && { aliases: serviceAlias }),
    ...(serviceIp !== undefined && { virtualIPs: serviceIp }),
  };
  if (service === undefined && Object.keys(rest).length === 0) return {};
  // Without a name it is refused as every other membership without one.
  return { services: [{ ...(service !== undefined && { name: service }), ...rest }] };
}

async function disconnect(name: string, target: string, flags: ConnectFlags): Promise<number> {
  const connection = await disconnectNetwork(connectionsOf(flags), name, target);
  print(flags.output, connection, `disconnected ${connection.interface} of ${connection.netns}\n`);
  return exitCodes.yes;
}

async function gc(flags: ConnectFlags): Promise<number> {
  const collected = await collectConnections(connectionsOf(flags));
  const told = collected
    .map(({ network, interface: name, netns }) => `disconnected from ${network}: ${name} of ${netns}, which is gone\n`)
    .join('');

  const answer = await askNetwork<{ readonly removed: readonly string[]; readonly kept: number }>(flags.cniSocket, 'gc');
  if ('why' in answer) {
    print(flags.output, { daemon: answer.why, disconnected: collected }, `${told}nothing was collected of pods: ${answer.why}\n`);
    return exitCodes.failed;
  }
  const { removed, kept } = answer.value;
  print(
    flags.output,
    { ...answer.value, disconnected: collected },
    `${told}${removed.length} removed${removed.length === 0 ? '' : ` (${removed.map(shortId).join(', ')})`}, ${kept} stand\n`,
  );
  return exitCodes.yes;
}
