import type { Command } from 'commander';
import type { OverlayStatus } from '../../cni-plugins/index.ts';
import { askAdmin, withAdminSocket } from '../options/admin-socket.ts';
import type { AdminFlags } from '../options/admin-socket.ts';
import { readInputFile, readStandardInput } from '../files/input-file.ts';
import { exitCodes, print, run, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';
import { printableText } from '../output/printable.ts';
import { table } from '../output/table.ts';
import { withWide } from '../output/terminal.ts';

interface Flags extends AdminFlags {
  readonly output: OutputFormat;
}

/** As for a file of `portcullis service apply`: enough for thousands of services. */
const mostBytes = 32 * 1024 * 1024;

/** `portcullis network overlay`: the network that spans hosts, as this host's daemon sees it. */
export function registerOverlay(network: Command): void {
  const overlay = network
    .command('overlay')
    .description('the network that spans hosts: status, services over all hosts, hosts that are gone');
  withDaemon(
    withWide(overlay.command('status')).description('show the hosts that this host reaches, and how'),
  )
    .addHelpText(
      'after',
      '\nExits with 1 while etcd cannot be reached or refuses this host.\n\nExamples:\n  $ portcullis network overlay status',
    )
    .action((flags: Flags) => run(flags.output, () => status(flags)));
  withDaemon(
    overlay
      .command('apply')
      .description('publish services to all hosts of the network')
      .requiredOption(
        '-f, --file <file>',
        'service descriptions, as for portcullis service apply; - for standard input',
      ),
  )
    .addHelpText(
      'after',
      '\nNo service is published while one is invalid, or has an address and port of another service. Backends may be pods of any host.\n\nExamples:\n  $ portcullis network overlay apply -f web.yaml',
    )
    .action((flags: Flags & { file: string }) => run(flags.output, () => apply(flags)));
  withDaemon(
    overlay
      .command('rm')
      .description('remove published services from all hosts')
      .argument('<service...>', 'names of services, such as shop/web'),
  )
    .addHelpText(
      'after',
      '\nExits with 1, and removes none, when one does not exist.\n\nExamples:\n  $ portcullis network overlay rm shop/web',
    )
    .action((names: string[], flags: Flags) => run(flags.output, () => remove(names, flags)));
  withDaemon(overlay.command('rotate-key').description('give this host a new key; the other hosts follow'))
    .addHelpText(
      'after',
      '\nConnections continue. For a network with encryption: wireguard.\n\nExamples:\n  $ portcullis network overlay rotate-key',
    )
    .action((flags: Flags) => run(flags.output, () => rotateKey(flags)));
  withDaemon(
    overlay
      .command('leave')
      .description('remove the subnets, links and published services of this host from the network'),
  )
    .addHelpText(
      'after',
      '\nRefused while this host has pods in the network. Take network.overlay out of the configuration as well: a daemon that starts with it joins again.\n\nExamples:\n  $ portcullis network overlay leave',
    )
    .action((flags: Flags) => run(flags.output, () => leave(flags)));
  withDaemon(
    overlay
      .command('release')
      .description('give back the subnets of a host that is permanently gone')
      .argument('<host>'),
  )
    .addHelpText(
      'after',
      '\nRefused while the host is in the network.\n\nExamples:\n  $ portcullis network overlay release host-7',
    )
    .action((host: string, flags: Flags) => run(flags.output, () => release(host, flags)));
}

const withDaemon = (command: Command): Command => withOutput(withAdminSocket(command));

/** The keys that the etcd role of this host's credentials may write. */
const roleOf: Readonly<Record<NonNullable<OverlayStatus['writes']>, string>> = {
  'this-host': 'this host alone',
  'every-host':
    'WARNING: these credentials may write the keys of every host: give each host a role (docs/overlay.md, Ownership)',
};

async function status(flags: Flags): Promise<number> {
  const found = await askAdmin(flags, 'overlay/status', {});
  const lines = [
    `network    ${found.name}`,
    `host       ${found.host} at ${found.underlay ?? '?'}`,
    `state      ${found.state}${found.trouble === undefined ? '' : `: ${found.trouble}`}`,
    `subnets    ${found.subnets.join(', ')}`,
    `mtu        ${found.mtu ?? '?'}`,
    `encrypted  ${found.publicKey === undefined ? 'no' : `by WireGuard, as ${found.publicKey}`}`,
    `services   ${found.services} published, ${found.networkServices} joined`,
    `corrected  ${found.corrected}`,
    ...(found.writes === undefined ? [] : [`role       ${roleOf[found.writes]}`]),
    ...found.refused.map((line) => `refused    ${line}`),
  ];
  const rows = found.peers.map(({ host, underlay, subnets, unreachable, held, tunnel }) => [
    host,
    underlay,
    subnets.join(', '),
    unreachable === undefined
      ? held
        ? 'held: etcd lost its record'
        : 'live'
      : `not reached: ${unreachable}`,
    ...(found.encryption === 'none'
      ? []
      : [
          tunnel?.lastHandshake ?? (tunnel === undefined ? '' : 'never'),
          String(tunnel?.receivedBytes ?? ''),
          String(tunnel?.sentBytes ?? ''),
        ]),
  ]);
  const heads = [
    'HOST',
    'UNDERLAY',
    'SUBNETS',
    'STATE',
    ...(found.encryption === 'none' ? [] : ['LAST HANDSHAKE', 'RECEIVED', 'SENT']),
  ];
  const peers = rows.length === 0 ? 'no other host\n' : table(heads, rows);
  print(flags.output, found, printableText(`${lines.join('\n')}\n\n${peers}`));
  return found.state === 'connected' ? exitCodes.yes : exitCodes.no;
}

async function apply(flags: Flags & { readonly file: string }): Promise<number> {
  const { file } = flags;
  const bytes = file === '-' ? await readStandardInput(mostBytes) : await readInputFile(file, mostBytes);
  const found = await askAdmin(flags, 'overlay/apply-services', { file, text: bytes.toString() });
  print(flags.output, found, found.spread.map((name) => `spread ${name}\n`).join(''));
  return exitCodes.yes;
}

async function remove(names: readonly string[], flags: Flags): Promise<number> {
  const found = await askAdmin(flags, 'overlay/remove-services', { names });
  print(flags.output, found, found.takenBack.map((name) => `removed ${name}\n`).join(''));
  return exitCodes.yes;
}

async function rotateKey(flags: Flags): Promise<number> {
  const found = await askAdmin(flags, 'overlay/rotate-key', {});
  print(flags.output, found, `this host's key is ${found.publicKey}\n`);
  return exitCodes.yes;
}

async function leave(flags: Flags): Promise<number> {
  const found = await askAdmin(flags, 'overlay/leave', {});
  print(flags.output, found, `this host has left ${found.left}\n`);
  return exitCodes.yes;
}

async function release(host: string, flags: Flags): Promise<number> {
  const found = await askAdmin(flags, 'overlay/release-host', { host });
  print(flags.output, found, found.released.map((subnet) => `released ${subnet}\n`).join(''));
  return exitCodes.yes;
}
