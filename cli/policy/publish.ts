import { Option } from 'commander';
import type { Command } from 'commander';
import { stageName } from '../../trust/policy-release/index.ts';
import type { ReleaseStage } from '../../trust/policy-release/index.ts';
import { collect } from '../options/registry-options.ts';
import { exitCodes, print } from '../output/output.ts';
import { ownerHelp, performOwner, withOwner } from '../options/owner-options.ts';
import type { OwnerFlags } from '../options/owner-options.ts';
import {
  countOf,
  describeReach,
  publishedLines,
  secondsOf,
  stagesOf,
  withChannel,
} from './release-options.ts';

interface PublishFlags extends OwnerFlags {
  readonly to: readonly string[];
  readonly channel: string;
  readonly stage: readonly ReleaseStage[];
  readonly haltAt: number;
  readonly watch: number;
  readonly urgent: boolean;
  readonly releases?: string;
}

const examples = `
Examples:
  $ portcullis trust init fleet/policy --to oci://registry.example.com/fleet/policy
  $ portcullis policy publish policy.d fleet/policy
  $ portcullis policy publish policy.d fleet/policy --stage canary=policy-stage=canary --stage quarter=25%
  $ portcullis policy publish policy.d fleet/policy --urgent        revokes a key: every node takes the release, whatever it refuses

The folder contains the policies and profiles, and every file that they refer to. It is loaded first as a node
loads it. A release with stages is for its first stage only, until portcullis policy rollout lets it reach the
next. Run the command again, also without a change, to renew the metadata before they expire. Exit status 1:
signatures are missing, and nothing was published.
${ownerHelp}`;

/** `portcullis policy publish`. */
export function registerPublish(policy: Command): void {
  const command = policy
    .command('publish')
    .description('sign and publish a folder of policies as the next release for nodes')
    .argument('<path>', 'folder or file of the policy')
    .argument('<name>', 'name of the collection (portcullis trust init)')
    .option('--to <place>', 'also publish to this place, now and later; may be repeated', collect, [])
    .option(
      '--stage <name=nodes>',
      'NAME=KEY=VALUE[,KEY=VALUE…] or NAME=25%: nodes that get it before all others; may be repeated, in order',
      stagesOf,
      [],
    )
    .option(
      '--halt-at <count>',
      'a node keeps the previous release if the new one would refuse, or refuses, this many admitted workloads; 0: never',
      countOf(0),
      1,
    )
    .addOption(
      new Option('--watch <duration>', 'how long after a node took the release its refusals count')
        .argParser(secondsOf)
        .default(600, '10m'),
    )
    .option('--urgent', 'release to all nodes at once, without a halt', false)
    .option('--releases <place>', 'where the archives are stored: oci://REGISTRY/REPOSITORY or a folder')
    .addHelpText('after', examples);
  withOwner(withChannel(command)).action((path: string, name: string, flags: PublishFlags) => {
    if (flags.urgent && (flags.stage.length > 0 || command.getOptionValueSource('haltAt') === 'cli'))
      return command.error('error: --urgent has no stages and no halt: leave --stage and --halt-at out', {
        exitCode: exitCodes.usage,
      });
    return performOwner(name, flags, (owner, registries) => publish(path, name, flags, owner, registries));
  });
}

async function publish(
  path: string,
  name: string,
  flags: PublishFlags,
  owner: Parameters<Parameters<typeof performOwner>[2]>[0],
  registries: Parameters<Parameters<typeof performOwner>[2]>[1],
): Promise<number> {
  const { loadPolicySet } = await import('../../runtime/index.ts');
  const { collectRelease, publishRelease } = await import('../../trust/policy-release/index.ts');
  const set = await loadPolicySet({ paths: [path] });
  const files = await collectRelease(path, set);
  const { channel, stage, to, watch, releases, urgent } = flags;
  const done = await publishRelease(owner, {
    ...{ files, revision: set.policy.revision, channel, stages: stage, to, releases, registries },
    halt: { denials: urgent ? 0 : flags.haltAt, watch },
  });
  const { release, isNew, root, published } = done;
  const missing = published.missing.length > 0;
  const head = missing
    ? `signed a part of release ${release.number} of ${channel}`
    : isNew
      ? `published release ${release.number} of ${channel}: ${files.size} files, revision ${release.revision}`
      : `release ${release.number} of ${channel} already has these files: its metadata was renewed`;
  const lines = [
    head,
    `for ${describeReach(release)}`,
    ...publishedLines(published),
    ...(root === undefined ? [] : [`first root: sha256:${root}`]),
  ];
  const stageReached = stageName(release);
  print(
    flags.output,
    {
      name,
      isNew,
      release: { ...release, stage: stageReached },
      root: root && `sha256:${root}`,
      ...published,
    },
    `${lines.join('\n')}\n`,
  );
  return missing ? exitCodes.no : exitCodes.yes;
}
