import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { createNetwork, readNetworkReport, removeNetwork, requireNetwork } from '../cni-plugins/index.ts';
import type { NewNetwork } from '../cni-plugins/index.ts';
import { registerConnections } from './network/connections.ts';
import { registerDockerDriver } from './network/docker-driver.ts';
import { reportDropped } from './network/dropped.ts';
import { registerOverlay } from './network/overlay.ts';
import { registerShow } from './network/show.ts';
import { sourceOf, withSource } from './network/source.ts';
import type { Flags } from './network/source.ts';
import { exitCodes, print, run } from './output/output.ts';
import { collect } from './options/registry-options.ts';

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

/**
 * `portcullis network`: the networks of pods, from configuration and database, with the daemon's answers
 * where it runs.
 */
export function register(program: Command): void {
  const network = program
    .command('network')
    .description('the networks of pods: list, create, inspect, remove, collect orphaned resources');
  registerOverlay(network);
  withSource(
    network
      .command('create')
      .description('write the configuration of a network with the plugins of Portcullis')
      .argument('<name>', 'name of the network'),
  )
    .option('--subnet <cidr>', 'subnet from which each pod gets an address; may be repeated', collect)
    .option(
      '--ipv6 <cidr>',
      'IPv6 subnet from which each pod gets an address, in addition; may be repeated',
      collect,
    )
    .option('--gateway <address>', 'gateway of each subnet, in order; default: the first address', collect)
    .option('--mtu <bytes>', "MTU of the pods' interfaces; default: MTU of the default route's link", whole)
    .addOption(
      new Option('--type <type>', 'plugin that creates the interface')
        .choices(['bridge', 'ptp', 'macvlan', 'ipvlan'])
        .default('bridge'),
    )
    .option('--link <name>', 'bridge: its name (default: cni0); macvlan and ipvlan: the host’s link')
    .option('--no-masquerade', 'packets that leave the subnets keep their source address')
    .option('--no-isolation', 'bridge: other isolated bridges can reach its pods')
    .option(
      '--internal',
      'bridge: its pods cannot reach the outside, and the outside cannot reach them',
      false,
    )
    .option(
      '--pod-namespace <name>',
      'namespace whose pods may request it by annotation; * for all; may be repeated',
      collect,
    )
    .option('--order <text>', "prefix of the file's name: the first file by name is the pods' network", '50')
    .addHelpText(
      'after',
      '\nThe configuration is validated before the file is written. An existing file is never replaced.\n\nExamples:\n  $ portcullis network create pods --subnet 10.88.0.0/16 --ipv6 fd00:88::/64\n  $ portcullis network create lan --type macvlan --link eth1 --subnet 192.0.2.0/24 --gateway 192.0.2.1 --mtu 9000',
    )
    .action((name: string, flags: CreateFlags, command: Command) => {
      if ((flags.subnet ?? flags.ipv6) === undefined)
        command.error('error: give --subnet or --ipv6', { exitCode: exitCodes.usage });
      const other = flags.ipv6?.find((each) => !each.includes(':'));
      if (other !== undefined)
        command.error(`error: --ipv6 ${other} is not an IPv6 subnet such as fd00:88::/64`, {
          exitCode: exitCodes.usage,
        });
      return run(flags.output, () => Promise.resolve(create(name, flags)));
    });
  withSource(
    network
      .command('rm')
      .description(
        'remove a network that nothing is attached to: its configuration, and the bridges that the plugins of Portcullis made for it',
      )
      .argument('<name>'),
  )
    .addHelpText(
      'after',
      '\nExits with 1 while something is attached.\n\nExamples:\n  $ portcullis network rm pods',
    )
    .action((name: string, flags: Flags) => run(flags.output, () => Promise.resolve(remove(name, flags))));
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
      `note: pods now get ${name} instead of ${before}, because its file is the first by name; a higher --order avoids that\n`,
    );
  if (type === 'bridge' || type === 'ptp') reportDropped(requireNetwork(sourceOf(flags), name).bridges);
  return exitCodes.yes;
}

/** Returns the network of every pod: the first configuration file that can be used. */
const podsNetwork = (flags: Flags): string | undefined =>
  readNetworkReport(sourceOf(flags)).networks.find(({ file }) => file !== undefined)?.name;

function remove(name: string, flags: Flags): number {
  const removed = removeNetwork(sourceOf(flags), name);
  const links = removed.bridges.map((bridge) => `removed the link ${bridge}\n`).join('');
  print(flags.output, { name, ...removed }, `removed ${removed.file}\n${links}`);
  return exitCodes.yes;
}
