import type { Command } from 'commander';
import type { AdminPolicyStatus } from '../../cni-plugins/index.ts';
import { askAdmin, withAdminSocket } from '../options/admin-socket.ts';
import type { AdminFlags } from '../options/admin-socket.ts';
import { exitCodes, print, run, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';

interface StatusFlags extends AdminFlags {
  readonly output: OutputFormat;
}

const examples = `
Examples:
  $ portcullis policy status
  $ portcullis policy status --output json >node-1.json       a report for portcullis policy rollout --advance

Exit status: 0 the policy that this node should have is in force; 1 it is not: none, halted, refused, withdrawn, stale or empty; 4 no daemon answers.`;

/** `portcullis policy status`. */
export function registerStatus(policy: Command): void {
  withAdminSocket(withOutput(policy.command('status')))
    .description(
      'show which policy is in force on this node, and how the node follows releases or objects of the cluster',
    )
    .addHelpText('after', examples)
    .action((flags: StatusFlags) =>
      run(flags.output, async () => {
        const status = await askAdmin(flags, 'policy/status', {});
        print(flags.output, status, describe(status));
        return isWell(status) ? exitCodes.yes : exitCodes.no;
      }),
    );
}

const wellStates = new Set(['current', 'pending', 'watching']);

function isWell({ revision, problem, subscription, cluster }: AdminPolicyStatus): boolean {
  if (revision === undefined) return false;
  if (cluster !== undefined) return cluster.state === 'current' || cluster.state === 'unreachable';
  return subscription === undefined ? problem === undefined : wellStates.has(subscription.state);
}

type Subscription = NonNullable<AdminPolicyStatus['subscription']>;

const meaning: Readonly<Record<Subscription['state'], string>> = {
  none: 'no release has arrived',
  current: 'the newest release is in force',
  pending: 'a newer release has not reached the stage of this node',
  watching: 'the node took the release a moment ago, and watches what it refuses',
  halted: 'a newer release is halted here, because it refuses what was admitted',
  refused: 'what the source serves is refused',
  withdrawn: 'the release was withdrawn, and no other one is in force yet',
  stale: 'the metadata have expired, and the source serves no newer ones',
};

type Cluster = NonNullable<AdminPolicyStatus['cluster']>;

const meaningOfObjects: Readonly<Record<Cluster['state'], string>> = {
  none: 'the objects of the cluster have not been read yet',
  current: 'the objects of the cluster are in force',
  unreachable: 'the API server cannot be asked, and the objects that were read last are in force',
  refused: 'the latest objects of the cluster are not in force',
  empty: 'the cluster has no TrustPolicy',
};

function clusterLines({ state, since, objects, problem, unreachable }: Cluster): [string, string][] {
  const names = objects.map(({ kind, name, generation }) => `${kind} ${name} (generation ${generation})`);
  return [
    ['state', `${state}: ${meaningOfObjects[state]}`],
    ['source', 'objects of the cluster'],
    [
      'objects',
      names.length === 0 ? 'none' : `${names.join(', ')}${since === undefined ? '' : `, since ${since}`}`,
    ],
    ...(problem === undefined ? [] : [['problem', `${problem.why} (${problem.at})`] as [string, string]]),
    ...(unreachable === undefined
      ? []
      : [['unreachable', `since ${unreachable.since}: ${unreachable.why}`] as [string, string]]),
  ];
}

function describe({ revision, rules, problem, subscription, cluster }: AdminPolicyStatus): string {
  const lines: [string, string][] = cluster === undefined ? [] : clusterLines(cluster);
  if (subscription !== undefined) {
    const { state, release, newest, service, channel, node } = subscription;
    lines.push(['state', `${state}: ${meaning[state]}`]);
    lines.push(['release', release === undefined ? 'none' : `${release.number}, since ${release.since}`]);
    if (newest !== undefined) lines.push(['newest', `${newest.number}, stage ${newest.stage}`]);
    lines.push(['source', `${service}, channel ${channel}`]);
    const labels = Object.entries(node.labels).map(([key, value]) => ` ${key}=${value}`);
    lines.push(['node', `${node.name}${labels.join('')}`]);
    lines.push(['last answer', subscription.contact ?? 'never']);
    if (subscription.expires !== undefined) lines.push(['expires', subscription.expires]);
  }
  lines.push(['revision', revision ?? 'none: everything new is denied']);
  if (rules !== undefined) lines.push(['rules', String(rules)]);
  if (problem !== undefined) lines.push(['problem', problem]);
  const found = subscription?.problem;
  if (found !== undefined)
    lines.push(['problem', `${found.why} (${found.code}, ${found.at})`], ['fix', found.fix]);
  return [
    ...lines.map(([name, text]) => `${name.padEnd(13)}${text}\n`),
    ...haltLines(subscription?.halted),
    ...upcomingLines(subscription),
  ].join('');
}

function haltLines(halted: Subscription['halted']): string[] {
  if (halted === undefined) return [];
  const { number, when, count, at, denials } = halted;
  const head =
    when === 'before'
      ? `release ${number} would refuse ${count} running workloads (${at}):`
      : `release ${number} refused ${count} workloads, and the node returned (${at}):`;
  return [`${head}\n`, ...denialLines(denials)];
}

/** A halted release has its own lines. */
function upcomingLines(subscription: Subscription | undefined): string[] {
  const { upcoming, halted } = subscription ?? {};
  if (upcoming === undefined || halted !== undefined) return [];
  const { release, count, denials, problem } = upcoming;
  if (problem !== undefined) return [`the node could not decide by release ${release}: ${problem}\n`];
  if (count === 0) return [`release ${release} would refuse nothing that runs here\n`];
  return [`release ${release} would refuse ${count} running workloads:\n`, ...denialLines(denials)];
}

function denialLines(denials: NonNullable<Subscription['halted']>['denials']): string[] {
  return denials
    .slice(0, 20)
    .map(
      ({ namespace, reference, outcome, rule }) =>
        `  ${namespace === '' ? '' : `${namespace}: `}${reference}: ${outcome}${rule === '' ? '' : `, rule ${rule}`}\n`,
    );
}
