import type { Command } from 'commander';
import { askNetworkReport, callAdmin, requireNetwork } from '../../cni-plugins/index.ts';
import type { AdminResponse, ReportedAttachment, ReportedNetwork } from '../../cni-plugins/index.ts';
import { exitCodes, print, run } from '../output/output.ts';
import { shortId, table } from '../output/table.ts';
import { sourceOf, withSource } from './source.ts';
import type { Flags } from './source.ts';
import { withWide } from '../output/terminal.ts';

/** `portcullis network ls` and `inspect`. */
export function registerShow(network: Command): void {
  withSource(
    withWide(network.command('ls')).description(
      'list networks with their plugins, subnets, attachments and leases',
    ),
  )
    .addHelpText(
      'after',
      '\nExits with 1 when no network can be used.\n\nExamples:\n  $ portcullis network ls\n  $ portcullis network ls --output json',
    )
    .action((flags: Flags) => run(flags.output, () => list(flags)));
  withSource(
    withWide(network.command('inspect'))
      .description('show a network: configuration, attachments and denials')
      .argument('<name>'),
  )
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis network inspect pods\n  $ portcullis network inspect pods --output json',
    )
    .action((name: string, flags: Flags) => run(flags.output, () => inspect(name, flags)));
}

async function list(flags: Flags): Promise<number> {
  const report = await askNetworkReport(sourceOf(flags), flags.adminSocket);
  const rows = report.networks.map((network) => [
    network.name,
    stateOf(network),
    network.plugins.join(' → '),
    network.subnets.join(', '),
    classesOf(network),
    attachedOf(network),
    leasesOf(network),
    network.file ?? '',
  ]);
  const refused = report.networks.flatMap(({ name, refused: reasons = [] }) =>
    reasons.map((reason) => `refused: ${name}: ${reason}\n`),
  );
  const problems = [...report.problems.map((problem) => `skipped: ${problem}\n`), ...refused].join('');
  print(
    flags.output,
    report,
    `${table(['NETWORK', 'RUN', 'PLUGINS', 'SUBNETS', 'CLASSES', 'ATTACHED', 'LEASES', 'FILE'], rows)}${problems}`,
  );
  return report.networks.some(isUsable) ? exitCodes.yes : exitCodes.no;
}

/** Whether pods can be attached, as far as the file of the network says. */
const isUsable = ({ file, refused }: ReportedNetwork): boolean => file !== undefined && refused === undefined;

const ways: Readonly<Record<string, string>> = {
  core: 'in process',
  'in-process': 'in process',
  exec: 'programs',
};
const stateOf = ({ way, refused }: ReportedNetwork): string =>
  way === undefined ? 'removed' : refused === undefined ? (ways[way] ?? way) : 'refused';
const attachedOf = ({ attachments }: ReportedNetwork): string => {
  const counts = ['lost', 'altered'].flatMap((wanted) => {
    const count = attachments.filter(({ state }) => state === wanted).length;
    return count === 0 ? [] : [`, ${count} ${wanted}`];
  });
  return `${attachments.length}${counts.join('')}`;
};
const classesOf = ({ classes }: ReportedNetwork): string => (classes ?? '').replace('-', ' ');
const leasesOf = ({ leases: { used, ranges }, way }: ReportedNetwork): string =>
  way === 'exec'
    ? ''
    : (ranges ?? [{ used, size: undefined }])
        .map(({ used: count, size }) =>
          size === undefined ? String(count) : `${count} of ${sizeText(size)}`,
        )
        .join(', ');

/** Subnets of IPv6 have so many addresses that only the power of two is readable. */
const sizeText = (size: number): string =>
  Number.isSafeInteger(size) ? String(size) : `2^${Math.round(Math.log2(size))}`;

type Denials = AdminResponse<'links/denials'>;

async function inspect(name: string, flags: Flags): Promise<number> {
  const source = sourceOf(flags);
  const network = requireNetwork(source, name, await askNetworkReport(source, flags.adminSocket));
  const answer = await callAdmin(flags.adminSocket, 'links/denials', {});
  const denials = 'why' in answer ? undefined : answer.value.denials.filter((each) => each.network === name);
  const value = { ...network, ...('why' in answer ? { daemon: answer.why } : { denials }) };
  const lines = [
    `network   ${network.name}`,
    `file      ${network.file ?? 'removed'}`,
    `plugins   ${network.plugins.join(' → ')} (CNI ${network.cniVersion ?? '?'}, ${stateOf(network)})`,
    ...(network.refused ?? []).map((reason) => `refused   ${reason}`),
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
    each.connected ??
      (each.pod === undefined ? 'not known (another runtime)' : `${each.namespace ?? ''}/${each.pod}`),
    each.addresses.join(', '),
    each.altered === undefined ? each.state : `${each.state}: ${each.altered.join(', ')}`,
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
    members
      .map(
        ({ id, addresses: own, host }) =>
          `${shortId(id)}${host === undefined ? '' : ` on ${host}`} ${own.join(' ')}`,
      )
      .join(', '),
  ]);
  return `\n${table(['SERVICE', 'MODE', 'VIRTUAL ADDRESSES', 'INGRESS', 'MEMBERS'], rows)}`;
}
