import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { createLogger } from '../../base/log/index.ts';
import { callAdmin, collectConnections, connectNetwork, disconnectNetwork } from '../../cni-plugins/index.ts';
import type { ConnectSource } from '../../cni-plugins/index.ts';
import { exitCodes, print, run } from '../output/output.ts';
import { collect } from '../options/registry-options.ts';
import { shortId } from '../output/table.ts';
import { sourceOf, withSource } from './source.ts';
import type { Flags } from './source.ts';

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

/** `portcullis network connect`, `disconnect` and `gc`. */
export function registerConnections(network: Command): void {
  withConnections(
    network
      .command('connect')
      .description('give a pod, a process or a container one more interface, on a network')
      .argument('<network>', 'name of the network')
      .argument(
        '<target>',
        'a pod (NAMESPACE/NAME, NAME or id), the path of a network namespace, pid:NUMBER, or docker://NAME',
      ),
  )
    .option('--ip <address>', 'address for the interface; may be repeated', anAddress)
    .option('--alias <name>', 'name by which others on the network find it; may be repeated', anAlias)
    .option('--ifname <name>', 'name of the interface; default: the first free ethN')
    .option('--mac <address>', 'MAC address of the interface')
    .option('--service <name>', 'service of the network to join as a member')
    .option(
      '--service-port <port>',
      'PORT, PORT:TARGET or PORT:TARGET/PROTOCOL at its virtual address; may be repeated',
      collect,
    )
    .option('--ingress-port <port>', 'the same, at every address of the host; may be repeated', collect)
    .option('--service-alias <name>', 'a further name of the service; may be repeated', collect)
    .option('--service-ip <address>', 'virtual address for the service; may be repeated', collect)
    .addOption(
      new Option(
        '--endpoint-mode <mode>',
        'vip: the name of the service has one virtual address; dnsrr: it has the addresses of all members',
      ).choices(['vip', 'dnsrr']),
    )
    .option('--docker-socket <path>', "socket of docker's API, for docker://NAME; default: /run/docker.sock")
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis network connect shop default/web --alias front\n  $ portcullis network connect shop /run/netns/blue --ip 10.90.0.9\n  $ portcullis network connect shop pid:4242 --ifname eth9\n  $ portcullis network connect shop docker://web\n  $ portcullis network connect shop default/web --service front --service-port 80:8080',
    )
    .action((name: string, target: string, flags: ConnectFlags) =>
      run(flags.output, () => connect(name, target, flags)),
    );
  withConnections(
    network
      .command('disconnect')
      .description('remove the interface that connect made')
      .argument('<network>', 'name of the network')
      .argument('<target>', 'the target that was given to connect'),
  )
    .option('--docker-socket <path>', "socket of docker's API, for docker://NAME; default: /run/docker.sock")
    .addHelpText('after', '\nExamples:\n  $ portcullis network disconnect shop default/web')
    .action((name: string, target: string, flags: ConnectFlags) =>
      run(flags.output, () => disconnect(name, target, flags)),
    );
  withConnections(
    network
      .command('gc')
      .description(
        'have the daemon remove attachments, links, rules and addresses that belong to no pod, and restore lost ones',
      ),
  )
    .option(
      '--altered',
      'also restore addresses, routes and settings that were changed inside the network namespaces of pods',
    )
    .addHelpText(
      'after',
      `
Exits with 1 when a pod lost its link and the link cannot be restored. The daemon does the same at each start.
With --altered the link of each pod is reset to its original state, even if a program in the pod changed it on purpose.

Examples:
  $ portcullis network gc
  $ portcullis network gc --altered`,
    )
    .action((flags: ConnectFlags & { readonly altered?: boolean }) =>
      run(flags.output, () => gc(flags, flags.altered === true)),
    );
}

function anAddress(text: string, before?: readonly string[]): readonly string[] {
  // As in CNI, a prefix length may follow.
  if (isIP(text.replace(/\/\d{1,3}$/u, '')) === 0)
    throw new InvalidArgumentError('It must be an IP address.');
  return collect(text, before);
}

const label = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/iu;

/** The name server leaves out what cannot be a name of the network. */
function anAlias(text: string, before?: readonly string[]): readonly string[] {
  if (!label.test(text)) throw new InvalidArgumentError('It must be one label of a host name, without dots.');
  return collect(text, before);
}

function withConnections(command: Command): Command {
  return withSource(command)
    .option('--bin-dir <dir>', 'folder of third-party plugins; may be repeated', collect)
    .option('--cache-dir <dir>', "the daemon's setting network.cacheDir", '/var/lib/cni');
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
  print(
    flags.output,
    { ...connection, addresses, result },
    `${connection.interface} ${addresses.join(' ')}\n`,
  );
  return exitCodes.yes;
}

function membershipOf({
  service,
  servicePort,
  ingressPort,
  serviceAlias,
  serviceIp,
  endpointMode,
}: ConnectFlags): {
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
  // A membership without a name is refused later.
  return { services: [{ ...(service !== undefined && { name: service }), ...rest }] };
}

async function disconnect(name: string, target: string, flags: ConnectFlags): Promise<number> {
  const connection = await disconnectNetwork(connectionsOf(flags), name, target);
  print(flags.output, connection, `disconnected ${connection.interface} of ${target} from ${name}\n`);
  return exitCodes.yes;
}

async function gc(flags: ConnectFlags, altered: boolean): Promise<number> {
  const collected = await collectConnections(connectionsOf(flags));
  const reported = collected
    .map(
      ({ network, interface: name, netns }) =>
        `disconnected from ${network}: ${name} of ${netns}, which is gone\n`,
    )
    .join('');

  const answer = await callAdmin(flags.adminSocket, 'links/collect', altered ? { altered } : {});
  if ('why' in answer) {
    print(
      flags.output,
      { daemon: answer.why, disconnected: collected },
      `${reported}nothing of pods was collected: ${answer.why}\n`,
    );
    return exitCodes.failed;
  }
  const { removed, kept, restored, lost, altered: changed = [] } = answer.value;
  const counts = [
    `${removed.length} removed${named(removed)}`,
    `${kept - lost.length} kept`,
    ...(restored.length === 0
      ? []
      : [`${restored.length} had lost their link, which was restored${named(restored)}`]),
    ...(lost.length === 0
      ? []
      : [`${lost.length} lost their link, which could not be restored${named(lost)}: see the daemon log`]),
    ...(changed.length === 0
      ? []
      : [
          `${changed.length} changed inside the pod${named(changed)}: see portcullis network inspect, gc --altered`,
        ]),
  ];
  print(flags.output, { ...answer.value, disconnected: collected }, `${reported}${counts.join(', ')}\n`);
  return lost.length === 0 ? exitCodes.yes : exitCodes.no;
}

const named = (ids: readonly string[]): string =>
  ids.length === 0 ? '' : ` (${ids.map(shortId).join(', ')})`;
