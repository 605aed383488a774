import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { createNetwork, forwardDroppers, readNetworkReport, removeNetwork, requireNetwork } from '../cni-plugins/index.ts';
import type { NewNetwork } from '../cni-plugins/index.ts';
import { registerConnections } from './network/connections.ts';
import { registerDockerDriver } from './network/docker-driver.ts';
import { registerOverlay } from './network/overlay.ts';
import { registerShow } from './network/show.ts';
import { exitCodeOf, sourceOf, withSource } from './network/source.ts';
import type { Flags } from './network/source.ts';
import { exitCodes, print, run } from './output.ts';
import { collect } from './registry-options.ts';

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

/** `portcullis network`: the networks of pods, from configuration and database, and what the daemon adds where it runs. */
export function register(program: Command): void {
  const network = program.command('network').description('the networks of pods: list, create, inspect, remove, collect what nobody claims');
  registerOverlay(network);
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
  withSource(
    network
      .command('rm')
      .description('remove a network that nothing is attached to: its configuration, and bridges that our plugins made for it')
      .argument('<name>'),
  )
    .addHelpText('after', '\nExits with 1 while something is attached.\n\nExamples:\n  $ portcullis network rm pods')
    .action((name: string, flags: Flags) => run(flags.output, () => Promise.resolve(remove(name, flags)), exitCodeOf));
  registerShow(network);
  registerConnections(network);
  registerDockerDriver(network);
}

function whole(text: string): number {
  if (!/^\d{1,6}$/u.test(text)) throw new InvalidArgumentError('It must be a whole number.');
  return Number(text);
}

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
  const before = podsNetwork(flags);
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
  if (before !== undefined && podsNetwork(flags) === name)
    process.stderr.write(
      `note: pods get ${name} from now on and no more ${before}: its file is the first by name; a higher --order leaves it so\n`,
    );
  if (type === 'bridge' || type === 'ptp') tellDropped(requireNetwork(sourceOf(flags), name).bridges);
  return exitCodes.yes;
}

/** The first file that can be used is every pod's network. */
const podsNetwork = (flags: Flags): string | undefined =>
  readNetworkReport(sourceOf(flags)).networks.find(({ file }) => file !== undefined)?.name;

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

function remove(name: string, flags: Flags): number {
  const removed = removeNetwork(sourceOf(flags), name);
  const links = removed.bridges.map((bridge) => `removed the link ${bridge}\n`).join('');
  print(flags.output, { name, ...removed }, `removed ${removed.file}\n${links}`);
  return exitCodes.yes;
}
