import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { recordOf } from '../json/strict-json.ts';
import type { TargetFile } from '../tuf-metadata/model.ts';

/** A part of the fleet that gets a release before the others: nodes with labels, or a share of all nodes. */
export interface ReleaseStage {
  readonly name: string;
  /** The node must have all of them. */
  readonly labels?: Readonly<Record<string, string>>;
  /** 1 to 99: nodes are selected by a hash of their names, so that the same nodes come first each time. */
  readonly percent?: number;
}

/** When a node does not take a release, or returns to the release before it. */
export interface HaltRule {
  /** The number of workloads that lose their admission. 0: a node never halts. */
  readonly denials: number;
  /** Seconds after the activation during which refusals count. */
  readonly watch: number;
}

/** The description of a release in the signed metadata. */
export interface PolicyRelease {
  readonly channel: string;
  readonly number: number;
  /** SHA-256 of the archive, in hexadecimal, and its size in bytes. */
  readonly sha256: string;
  readonly length: number;
  /** The revision of the policy as its publisher loaded it. */
  readonly revision: string;
  /** In order; after the last stage, the release is for all nodes. */
  readonly stages: readonly ReleaseStage[];
  /** How many stages the release has reached; more than there are stages: all nodes. At least 1. */
  readonly reached: number;
  readonly halt: HaltRule;
  /** No node may keep a withdrawn release, take it, or return to it. */
  readonly withdrawn: boolean;
}

/** A node, as far as stages select it. */
export interface StagedNode {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
}

export const channelPattern = '^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$';
const channelForm = new RegExp(channelPattern, 'u');
/** More stages than a fleet has. */
export const mostStages = 16;

/** Returns the path of a release's target. */
export const releasePath = ({ channel, number }: Pick<PolicyRelease, 'channel' | 'number'>): string =>
  `${channel}/${number}.tar`;

/** Returns the name of the stage that a release has reached. */
export const stageName = ({ stages, reached }: Pick<PolicyRelease, 'stages' | 'reached'>): string =>
  stages[reached - 1]?.name ?? 'all';

/** Returns a release as a target with its custom data. */
export function releaseTarget(release: PolicyRelease): TargetFile {
  const { sha256, length, revision, stages, reached, halt, withdrawn } = release;
  return {
    length,
    hashes: { sha256 },
    custom: {
      policyRelease: {
        version: 1,
        revision,
        stages: stages.map(({ name, labels, percent }) => ({
          name,
          ...(labels === undefined ? {} : { labels }),
          ...(percent === undefined ? {} : { percent }),
        })),
        reached,
        halt: { denials: halt.denials, watch: halt.watch },
        ...(withdrawn ? { withdrawn } : {}),
      },
    },
  };
}

/**
 * Returns the releases of a channel, newest first. A target of another form is skipped: its number is used
 * by no release that this version can read.
 */
export function releasesIn(
  targets: Iterable<readonly [string, Pick<TargetFile, 'length' | 'hashes' | 'custom'>]>,
  channel: string,
): readonly PolicyRelease[] {
  const found: PolicyRelease[] = [];
  for (const [path, file] of targets) {
    const release = readRelease(path, file);
    if (release?.channel === channel) found.push(release);
  }
  return found.sort((a, b) => b.number - a.number);
}

/** Returns the newest release for a node. @param releases newest first */
export function releaseFor(releases: readonly PolicyRelease[], node: StagedNode): PolicyRelease | undefined {
  return releases.find((release) => !release.withdrawn && isFor(release, node));
}

/** Whether one of the stages that a release has reached selects a node. */
export function isFor({ stages, reached }: PolicyRelease, node: StagedNode): boolean {
  return reached > stages.length || stages.slice(0, reached).some((stage) => selects(stage, node));
}

/** The targets of a collection stay a short list. */
const mostListed = 20;

/**
 * Returns the old releases that need not be listed any more. A node leaves a release that is not listed, so
 * the newest release of some nodes stays, however old it is.
 * @param releases newest first
 */
export function notNeeded(releases: readonly PolicyRelease[]): readonly PolicyRelease[] {
  return releases.filter(
    (one, index) =>
      index >= mostListed &&
      (one.withdrawn || releases.slice(0, index).some((newer) => replaces(newer, one))),
  );
}

/** Whether a newer release is for every node that an older one is for. */
function replaces(newer: PolicyRelease, older: PolicyRelease): boolean {
  if (newer.withdrawn) return false;
  if (newer.reached > newer.stages.length) return true;
  const reached = newer.stages.slice(0, newer.reached);
  return (
    older.reached <= older.stages.length &&
    older.stages
      .slice(0, older.reached)
      .every((stage) => reached.some((other) => isDeepStrictEqual(selection(other), selection(stage))))
  );
}

const selection = ({ labels, percent }: ReleaseStage): Omit<ReleaseStage, 'name'> => ({
  ...(labels !== undefined && { labels }),
  ...(percent !== undefined && { percent }),
});

function selects({ labels, percent }: ReleaseStage, node: StagedNode): boolean {
  if (labels !== undefined) return Object.entries(labels).every(([key, value]) => node.labels[key] === value);
  return percent !== undefined && shareOf(node.name) < percent / 100;
}

/** Returns the place of a node in the fleet, at least 0 and less than 1. It depends only on its name. */
function shareOf(name: string): number {
  return createHash('sha256').update(`policy stage\n${name}`).digest().readUInt32BE(0) / 2 ** 32;
}

function readRelease(
  path: string,
  { length, hashes, custom }: Pick<TargetFile, 'length' | 'hashes' | 'custom'>,
): PolicyRelease | undefined {
  const [, channel = '', digits = ''] = /^([^/]+)\/([1-9]\d{0,8})\.tar$/u.exec(path) ?? [];
  const sha256 = hashes['sha256'];
  const fields = recordOf(recordOf(custom)?.['policyRelease']);
  const halt = recordOf(fields?.['halt']);
  if (!channelForm.test(channel) || sha256 === undefined || fields?.['version'] !== 1) return undefined;
  const { revision, reached } = fields;
  const stages = readStages(fields['stages']);
  const [denials, watch] = [halt?.['denials'], halt?.['watch']];
  if (typeof revision !== 'string' || stages === undefined) return undefined;
  if (!isCount(reached) || reached < 1 || !isCount(denials) || !isCount(watch)) return undefined;
  const withdrawn = fields['withdrawn'] === true;
  const number = Number(digits);
  return { channel, number, sha256, length, revision, stages, reached, halt: { denials, watch }, withdrawn };
}

function readStages(value: unknown): readonly ReleaseStage[] | undefined {
  if (!Array.isArray(value) || value.length > mostStages) return undefined;
  const stages: ReleaseStage[] = [];
  for (const one of value) {
    const { name, labels, percent } = recordOf(one) ?? {};
    const pairs = labels === undefined ? undefined : Object.entries(recordOf(labels) ?? {});
    const isRead =
      typeof name === 'string' &&
      (pairs === undefined
        ? isCount(percent) && percent >= 1 && percent <= 99
        : percent === undefined && pairs.length > 0 && pairs.every(([, text]) => typeof text === 'string'));
    if (!isRead) return undefined;
    stages.push(
      pairs === undefined
        ? { name, percent: percent as number }
        : { name, labels: Object.fromEntries(pairs) as Record<string, string> },
    );
  }
  return stages;
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
