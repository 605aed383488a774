import { join } from 'node:path';
import { followDocuments } from '../../admission/policy/index.ts';
import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { createApiClient, readApiAccess, usualTiming } from '../../base/kubernetes/index.ts';
import type { ApiPlace, FollowTiming } from '../../base/kubernetes/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { AdminClusterPolicy } from '../../cni-plugins/index.ts';
import type { PolicyHolder, PolicySource } from '../policy/policy-watch.ts';
import { openObjectFolder } from './object-folder.ts';
import type { ObjectFolder, Remembered } from './object-folder.ts';
import { createObjectTaking } from './take-objects.ts';
import type { ObjectTaking } from './take-objects.ts';

/** The policy of this node in objects of its cluster. */
export interface ClusterPolicy {
  /** The objects that were in force at the end of the last run. */
  readonly source: PolicySource;
  /** Begins to follow the cluster. */
  begin(holder: Pick<PolicyHolder, 'current' | 'limit' | 'loads' | 'problem' | 'use'>): void;
  status(): AdminClusterPolicy;
  close(): Promise<void>;
}

export interface ClusterPolicyOptions {
  readonly place: ApiPlace;
  /** Folder of the files that objects name. */
  readonly policyFiles?: string;
  readonly writesStatus: boolean;
  /** The persistent folder of the daemon. */
  readonly root: string;
  readonly log: Logger;
  readonly timing?: FollowTiming;
  /** In ms. Default: 10 s, because many nodes follow the same objects. */
  readonly statusJitterMs?: number;
}

const notYet =
  'the TrustPolicy objects of the cluster have not been read yet: all new images and containers are denied';

/**
 * Opens what an earlier run left, without asking anybody. A folder that cannot be used leaves the node
 * without a policy, and says so.
 */
export async function openClusterPolicy(options: ClusterPolicyOptions): Promise<ClusterPolicy> {
  const { root, log } = options;
  try {
    const folder = await openObjectFolder(join(root, 'cluster-policy'));
    return follow(options, folder, await readStanding(folder, log));
  } catch (thrown) {
    const why = isPortcullisError(thrown) ? thrown.message : reasonOf(thrown);
    log.error(
      { cause: why },
      'the policies of the cluster cannot be kept on this node: all new images and containers are denied',
    );
    return {
      source: { paths: [], lacking: why },
      begin: () => undefined,
      status: () => ({ state: 'none', objects: [], problem: { why, at: new Date().toISOString() } }),
      close: () => Promise.resolve(),
    };
  }
}

/** Returns the objects of the last run, as they were in force. */
async function readStanding(
  folder: ObjectFolder,
  log: Logger,
): Promise<{ readonly standing: Remembered | undefined; readonly source: PolicySource }> {
  try {
    const standing = await folder.load();
    if (standing === undefined) return { standing, source: { paths: [], lacking: notYet } };
    if ('lacking' in standing) return { standing, source: { paths: [], lacking: standing.lacking } };
    return { standing, source: await folder.unpack(standing) };
  } catch (thrown) {
    log.error(
      { cause: isPortcullisError(thrown) ? thrown.message : reasonOf(thrown) },
      'the policies that were in force in the last run are missing or damaged, and are read again',
    );
    return { standing: undefined, source: { paths: [], lacking: notYet } };
  }
}

function follow(
  {
    place,
    policyFiles,
    writesStatus,
    log,
    timing = usualTiming,
    statusJitterMs = 10_000,
  }: ClusterPolicyOptions,
  folder: ObjectFolder,
  { standing, source }: { readonly standing: Remembered | undefined; readonly source: PolicySource },
): ClusterPolicy {
  const client = createApiClient(() => readApiAccess(place), {
    userAgent: 'portcullis',
    rights: 'list and watch trustpolicies and entitlementprofiles of portcullis.dev',
    meanwhile: 'the policy stays as it is',
  });
  let taking: ObjectTaking | undefined;
  let following: { close(): Promise<void> } | undefined;
  let away: { readonly why: string; readonly since: string } | undefined;
  return {
    source,
    begin(holder) {
      const taken = createObjectTaking({ folder, holder, policyFiles, log, now: () => new Date() }, standing);
      taking = taken;
      // The refusal of an image then says why there is no policy.
      if (source.lacking !== undefined) holder.limit({ refuses: 'everything', why: source.lacking });
      following = followDocuments({
        ...{ client, log, timing, statusJitterMs, writesStatus },
        load: taken.take,
        onContact(trouble) {
          away =
            trouble === undefined
              ? undefined
              : { why: trouble, since: away?.since ?? new Date().toISOString() };
        },
      });
    },
    status: () => statusOf(taking?.standing() ?? standing, taking?.problem(), away),
    async close() {
      await following?.close();
      client.close();
    },
  };
}

function statusOf(
  standing: Remembered | undefined,
  problem: AdminClusterPolicy['problem'],
  away: AdminClusterPolicy['unreachable'],
): AdminClusterPolicy {
  const isEmpty = standing !== undefined && 'lacking' in standing;
  const stateOf = (): AdminClusterPolicy['state'] => {
    if (problem !== undefined) return 'refused';
    if (isEmpty) return 'empty';
    if (standing === undefined) return 'none';
    return away === undefined ? 'current' : 'unreachable';
  };
  return {
    state: stateOf(),
    ...(standing !== undefined && { since: standing.since }),
    objects: standing === undefined || 'lacking' in standing ? [] : standing.objects,
    ...(problem !== undefined && { problem }),
    ...(away !== undefined && { unreachable: away }),
  };
}
