import type { Command } from 'commander';
import { parseJson } from '../../base/json/index.ts';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import {
  advanceRelease,
  listReleases,
  stageName,
  withdrawRelease,
} from '../../trust/policy-release/index.ts';
import type { NodeReport, PolicyRelease } from '../../trust/policy-release/index.ts';
import type { Owner } from '../../trust/tuf-author/index.ts';
import type { AdminPolicyStatus } from '../../cni-plugins/index.ts';
import { readInputFile } from '../files/input-file.ts';
import { collect } from '../options/registry-options.ts';
import { exitCodes, print } from '../output/output.ts';
import { table } from '../output/table.ts';
import { withWide } from '../output/terminal.ts';
import { ownerHelp, performOwner, withOwner } from '../options/owner-options.ts';
import type { OwnerFlags } from '../options/owner-options.ts';
import { countOf, describeReach, describeStage, publishedLines, withChannel } from './release-options.ts';

interface RolloutFlags extends OwnerFlags {
  readonly channel: string;
  readonly advance: boolean;
  readonly status: readonly string[];
  readonly unchecked: boolean;
  readonly withdraw?: number;
}

const examples = `
Examples:
  $ portcullis policy rollout fleet/policy                                   lists the releases and their stages
  $ portcullis policy rollout fleet/policy --advance --status node-1.json --status node-2.json
  $ portcullis policy rollout fleet/policy --withdraw 8                      no node keeps or takes release 8

A file of --status contains the output of "portcullis policy status --output json" on a node. The newest
release reaches its next stage only if each of these nodes that is in its stages has it in force and has
finished watching it. Exit status 1: a node does not have the release in force without problems, or signatures
are missing.
${ownerHelp}`;

/** `portcullis policy rollout`. */
export function registerRollout(policy: Command): void {
  const command = policy
    .command('rollout')
    .description('list the releases of a policy, let one reach its next stage, or withdraw one')
    .argument('<name>', 'name of the collection')
    .option('--advance', 'let the newest release reach its next stage', false)
    .option(
      '--status <file>',
      'report of a node that must have the release in force; may be repeated',
      collect,
      [],
    )
    .option('--unchecked', 'advance without reports of nodes', false)
    .option('--withdraw <number>', 'withdraw a release', countOf(1))
    .addHelpText('after', examples);
  withOwner(withWide(withChannel(command))).action((name: string, flags: RolloutFlags) => {
    const wrong = (text: string): never => command.error(`error: ${text}`, { exitCode: exitCodes.usage });
    if (flags.advance && flags.withdraw !== undefined) return wrong('name one of --advance and --withdraw');
    if (flags.advance && flags.unchecked === flags.status.length > 0)
      return wrong('--advance needs reports of nodes (--status FILE), or --unchecked');
    return performOwner(name, flags, (owner) => rollout(name, flags, owner));
  });
}

async function rollout(name: string, flags: RolloutFlags, owner: Owner): Promise<number> {
  const { channel, advance, withdraw } = flags;
  if (!advance && withdraw === undefined) {
    const releases = await listReleases(owner, channel);
    const rows = releases.map((one) => [
      String(one.number),
      one.withdrawn ? 'withdrawn' : stageName(one),
      one.stages.map(describeStage).join(', '),
      one.halt.denials === 0 ? 'never' : String(one.halt.denials),
      one.revision.slice(0, 19),
    ]);
    const text =
      releases.length === 0
        ? `no releases of ${channel}\n`
        : table(['RELEASE', 'REACHED', 'STAGES BEFORE ALL', 'HALT AT', 'REVISION'], rows);
    print(flags.output, { name, channel, releases }, text);
    return exitCodes.yes;
  }
  const reports = flags.unchecked ? undefined : await Promise.all(flags.status.map(readReport));
  const { release, published } =
    withdraw === undefined
      ? await advanceRelease(owner, channel, reports)
      : await withdrawRelease(owner, channel, withdraw);
  const lines = [headOf(release), ...publishedLines(published)];
  print(flags.output, { name, release, ...published }, `${lines.join('\n')}\n`);
  return published.missing.length > 0 ? exitCodes.no : exitCodes.yes;
}

const headOf = (release: PolicyRelease): string =>
  release.withdrawn
    ? `release ${release.number} of ${release.channel} is withdrawn`
    : `release ${release.number} of ${release.channel} is for ${describeReach(release)}`;

async function readReport(file: string): Promise<NodeReport> {
  try {
    const { subscription } = parseJson((await readInputFile(file)).toString('utf8')) as AdminPolicyStatus;
    const { channel, node, state, release } = subscription ?? {};
    if (channel === undefined || typeof node?.name !== 'string' || state === undefined)
      throw new Error('it is not a report of a node that follows releases');
    return { channel, name: node.name, labels: node.labels, state, release: release?.number };
  } catch (error) {
    throw new PortcullisError({
      code: 'CLI_FILE_UNREADABLE',
      kind: 'invalid',
      attempted: 'read report of a node',
      on: file,
      why: reasonOf(error),
      fix: 'write it on the node: portcullis policy status --output json >FILE',
      cause: error,
    });
  }
}
