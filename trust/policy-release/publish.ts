import { isPortcullisError } from '../../base/errors/index.ts';
import type { RegistryAccess } from '../registries/registry-access.ts';
import type { Owner } from '../tuf-author/owner.types.ts';
import type { Published } from '../tuf-author/session.ts';
import type { StagedChange } from '../tuf-author/staged.ts';
import type { TargetFile } from '../tuf-metadata/model.ts';
import { packRelease } from './archive.ts';
import type { ReleaseFiles } from './archive.ts';
import { releaseFailure } from './failure.ts';
import { isFor, notNeeded, releasePath, releasesIn, releaseTarget, stageName } from './release.ts';
import type { HaltRule, PolicyRelease, ReleaseStage, StagedNode } from './release.ts';
import { sha256Of } from './source.ts';
import { archivePlaces, storeArchive } from './publish-archive.ts';

const role = 'targets';

export interface PublishReleaseInput {
  readonly files: ReleaseFiles;
  readonly revision: string;
  readonly channel: string;
  /** None: the release is for all nodes at once. */
  readonly stages: readonly ReleaseStage[];
  readonly halt: HaltRule;
  /** Further places to publish to, now and later. */
  readonly to: readonly string[];
  /** Where archives are stored. Default: beside the metadata. */
  readonly releases?: string | undefined;
  readonly registries: RegistryAccess;
}

export interface PublishedRelease {
  readonly release: PolicyRelease;
  /** False: the newest release has the same files already, and is only renewed. */
  readonly isNew: boolean;
  /** SHA-256 of the first root, by which nodes begin to trust the collection. Undefined: it is not signed. */
  readonly root: string | undefined;
  readonly published: Published;
}

/** Returns the releases of a channel as they are after the next publish, newest first. */
export async function listReleases(
  owner: Pick<Owner, 'targets'>,
  channel: string,
): Promise<readonly PolicyRelease[]> {
  const targets = (await owner.targets()).filter((target) => target.role === role);
  return releasesIn(
    targets.map((target) => [target.path, target] as const),
    channel,
  );
}

/** How often another publisher may come first. */
const mostTries = 5;

/**
 * Reads the releases, changes them and publishes the change, as one step: another publisher that comes
 * between the reading and the publishing makes the step begin again. In a working folder nobody comes in
 * between; at a place, and in the working folder of another publisher, the change is compared with what it
 * replaces.
 */
async function inOneStep<T>(
  owner: Owner,
  channel: string,
  step: (owner: Owner, known: readonly PolicyRelease[]) => Promise<T>,
): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await owner.exclusively(async (alone) => {
        try {
          return await step(alone, await listReleases(alone, channel));
        } catch (thrown) {
          // Also of an earlier run, whose change was overtaken. The next list has what is published.
          if (isOvertaken(thrown)) await alone.unstage((change) => isOfChannel(change, channel));
          throw thrown;
        }
      });
    } catch (thrown) {
      if (!isOvertaken(thrown) || tries === mostTries) throw thrown;
    }
  }
}

/** Whether another publisher has changed, or removed, what a staged change is about. */
const isOvertaken = (thrown: unknown): boolean =>
  isPortcullisError(thrown) &&
  (thrown.code === 'TRUST_AUTHOR_BEHIND' || thrown.code === 'TRUST_AUTHOR_NO_TARGET');

const isOfChannel = (change: StagedChange, channel: string): boolean =>
  (change.kind === 'add' || change.kind === 'remove') && change.path.startsWith(`${channel}/`);

/**
 * Publishes the files of a policy as the next release of a channel: stores the archive, then signs and sends
 * the metadata. If the newest release has the same files, it only renews the metadata, unless the input is
 * urgent (no stages, and no halt) and the newest release is not: a node may have halted at that one.
 * @throws TRUST_RELEASE_MALFORMED · TRUST_RELEASE_PLACE, and the errors of collections and registries
 */
export async function publishRelease(owner: Owner, input: PublishReleaseInput): Promise<PublishedRelease> {
  const archive = await packRelease(input.files);
  return inOneStep(owner, input.channel, (alone, known) => publishNext(alone, known, archive, input));
}

async function publishNext(
  owner: Owner,
  known: readonly PolicyRelease[],
  archive: Buffer,
  input: PublishReleaseInput,
): Promise<PublishedRelease> {
  const { channel, stages, halt, revision, to, registries } = input;
  const sha256 = sha256Of(archive);
  const newest = known[0];
  const isNew =
    newest === undefined || newest.withdrawn || newest.sha256 !== sha256 || becomesUrgent(newest, input);
  const release: PolicyRelease = isNew
    ? {
        ...{ channel, number: (newest?.number ?? 0) + 1, sha256, length: archive.length, revision },
        ...{ stages, reached: 1, halt, withdrawn: false },
      }
    : newest;
  const { destinations } = await owner.settings();
  const places = archivePlaces([...new Set([...destinations, ...to])], input.releases);
  // Before the metadata: no node looks for an archive that is not there.
  for (const place of places) await storeArchive(place, release, archive, registries);
  if (isNew) {
    const old = notNeeded([release, ...known]).map((one): StagedChange => ({
      kind: 'remove',
      role,
      path: releasePath(one),
    }));
    await owner.stage(staged(release, 'nothing'), ...old);
  }
  const published = await owner.publish({ to, countersign: false, expiry: {} });
  const first = await owner.firstRoot();
  return { release, isNew, root: first === undefined ? undefined : sha256Of(first), published };
}

const becomesUrgent = (newest: PolicyRelease, { stages, halt }: PublishReleaseInput): boolean =>
  stages.length === 0 &&
  halt.denials === 0 &&
  (newest.halt.denials > 0 || newest.reached <= newest.stages.length);

/** The report of a node about itself (`portcullis policy status`). */
export interface NodeReport extends StagedNode {
  readonly channel: string;
  /** The release in force; undefined: none. */
  readonly release: number | undefined;
  readonly state: string;
}

/**
 * Moves the newest release that is not for all nodes yet to its next stage.
 * @param reports of nodes. There must be a report of at least one node of the stages that the release has
 * reached, and all of them must be current with this release. Undefined: no report is required
 * @throws TRUST_RELEASE_UNKNOWN · TRUST_RELEASE_NOT_READY
 */
export async function advanceRelease(
  owner: Owner,
  channel: string,
  reports: readonly NodeReport[] | undefined,
): Promise<{ readonly release: PolicyRelease; readonly published: Published }> {
  return inOneStep(owner, channel, (alone, known) => advanceNewest(alone, known, channel, reports));
}

async function advanceNewest(
  owner: Owner,
  known: readonly PolicyRelease[],
  channel: string,
  reports: readonly NodeReport[] | undefined,
): Promise<{ readonly release: PolicyRelease; readonly published: Published }> {
  const newest = known.find(({ withdrawn }) => !withdrawn);
  if (newest === undefined || newest.reached > newest.stages.length)
    throw releaseFailure(
      'TRUST_RELEASE_UNKNOWN',
      channel,
      newest === undefined ? 'it has no release' : `release ${newest.number} is for all nodes already`,
    );
  if (reports !== undefined) refuseUnready(newest, reports);
  const release = { ...newest, reached: newest.reached + 1 };
  return { release, published: await publishChange(owner, release, newest) };
}

function refuseUnready(release: PolicyRelease, reports: readonly NodeReport[]): void {
  const on = `${release.channel}/${release.number} at stage ${stageName(release)}`;
  const asked = reports.filter((one) => one.channel === release.channel && isFor(release, one));
  if (asked.length === 0)
    throw releaseFailure('TRUST_RELEASE_NOT_READY', on, 'no node of its stages has reported');
  const unready = asked.filter((one) => one.release !== release.number || one.state !== 'current');
  if (unready.length === 0) return;
  const summaries = unready
    .slice(0, 10)
    .map((one) => `${one.name}: ${one.state}, release ${one.release ?? 'none'}`);
  throw releaseFailure(
    'TRUST_RELEASE_NOT_READY',
    on,
    `${unready.length} of ${asked.length} nodes do not run it, or are not current: ${summaries.join('; ')}`,
  );
}

/**
 * Withdraws a release: no node may keep it, take it, or return to it.
 * @throws TRUST_RELEASE_UNKNOWN; TRUST_RELEASE_LAST when no other release is for all nodes
 */
export async function withdrawRelease(
  owner: Owner,
  channel: string,
  number: number,
): Promise<{ readonly release: PolicyRelease; readonly published: Published }> {
  return inOneStep(owner, channel, (alone, known) => withdraw(alone, known, channel, number));
}

async function withdraw(
  owner: Owner,
  known: readonly PolicyRelease[],
  channel: string,
  number: number,
): Promise<{ readonly release: PolicyRelease; readonly published: Published }> {
  const found = known.find((one) => one.number === number);
  if (found === undefined)
    throw releaseFailure('TRUST_RELEASE_UNKNOWN', `${channel}/${number}`, 'there is no such release');
  const others = known.filter((one) => one !== found && !one.withdrawn);
  if (!others.some(({ reached, stages }) => reached > stages.length))
    throw releaseFailure(
      'TRUST_RELEASE_LAST',
      `${channel}/${number}`,
      'no other release is for all nodes, so some nodes would have no release',
    );
  const release = { ...found, withdrawn: true };
  return { release, published: await publishChange(owner, release, found) };
}

async function publishChange(
  owner: Owner,
  release: PolicyRelease,
  before: PolicyRelease,
): Promise<Published> {
  await owner.stage(staged(release, releaseTarget(before)));
  return owner.publish({ to: [], countersign: false, expiry: {} });
}

const staged = (release: PolicyRelease, instead: TargetFile | 'nothing'): StagedChange => ({
  kind: 'add',
  role,
  path: releasePath(release),
  file: releaseTarget(release),
  instead,
});
