import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { channelPattern, mostStages } from '../../trust/policy-release/index.ts';
import type { PolicyRelease, PublishedRelease, ReleaseStage } from '../../trust/policy-release/index.ts';
import { parseDuration } from '../../trust/policy/index.ts';

/** Adds `--channel`. */
export function withChannel(command: Command): Command {
  return command.option('--channel <name>', 'series of releases, which nodes choose', channelOf, 'stable');
}

function channelOf(text: string): string {
  if (new RegExp(channelPattern, 'u').test(text)) return text;
  throw new InvalidArgumentError('write small letters, digits and dashes, at most 64.');
}

/** Parses one `--stage` (repeatable): `NAME=25%` or `NAME=KEY=VALUE,KEY=VALUE`. */
export function stagesOf(text: string, before: readonly ReleaseStage[] = []): readonly ReleaseStage[] {
  const [, name = '', selector = ''] = /^([A-Za-z0-9][A-Za-z0-9._-]{0,62})=(.+)$/su.exec(text) ?? [];
  if (name === '' || name === 'all' || before.some((stage) => stage.name === name))
    throw new InvalidArgumentError('write NAME=KEY=VALUE or NAME=25%, each name once, and not `all`.');
  if (before.length >= mostStages) throw new InvalidArgumentError(`there are at most ${mostStages} stages.`);
  const [, digits] = /^([1-9]\d?)%$/u.exec(selector) ?? [];
  if (digits !== undefined) return [...before, { name, percent: Number(digits) }];
  const labels = selector.split(',').map((pair) => /^([^=\s]+)=(\S*)$/u.exec(pair));
  if (labels.includes(null))
    throw new InvalidArgumentError('write NAME=KEY=VALUE[,KEY=VALUE…] or NAME=25% (1% to 99%).');
  return [
    ...before,
    { name, labels: Object.fromEntries(labels.map((match) => [match?.[1] ?? '', match?.[2] ?? ''])) },
  ];
}

/** Parses a duration of an option into seconds. */
export function secondsOf(text: string): number {
  const seconds = parseDuration(text);
  if (seconds === undefined) throw new InvalidArgumentError('write a duration such as 90s, 10m or 24h.');
  return seconds;
}

/** Parses a whole number, at least `least`. */
export function countOf(least: number): (text: string) => number {
  return (text) => {
    if (/^\d{1,9}$/u.test(text) && Number(text) >= least) return Number(text);
    throw new InvalidArgumentError(`write a whole number, at least ${least}.`);
  };
}

/** Returns the nodes of a stage in words. */
export function describeStage({ name, labels, percent }: ReleaseStage): string {
  const who =
    labels === undefined
      ? `${percent ?? 0}% of all nodes`
      : Object.entries(labels)
          .map(([key, value]) => `${key}=${value}`)
          .join(',');
  return `${name} (${who})`;
}

/** Returns for which nodes a release is, in words. */
export function describeReach({ stages, reached }: Pick<PolicyRelease, 'stages' | 'reached'>): string {
  if (reached > stages.length) return 'all nodes';
  return stages.slice(0, reached).map(describeStage).join(' and ');
}

/** Returns the lines that report a publish: missing signatures, or where files were sent. */
export function publishedLines({ missing, sent }: PublishedRelease['published']): string[] {
  if (missing.length > 0)
    return [
      ...missing.map(
        ({ role, by, have, threshold }) => `${role}: ${have} of ${threshold} signatures that ${by} demands`,
      ),
      'nothing was published: sign with the missing keys (--key), or run trust witness on the machines that have them',
    ];
  return sent.map(({ address, files }) => `sent ${files} file${files === 1 ? '' : 's'} to ${address}`);
}
