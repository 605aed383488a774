import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { ApiClient, FollowTiming } from '../../base/kubernetes/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { signatureOfFiles } from '../../base/storage/index.ts';
import { profileSet } from '../../entitlements/index.ts';
import type { ProfileSet } from '../../entitlements/index.ts';
import type { TrustPolicy } from '../../trust/index.ts';
import { writeDocuments } from './documents.ts';
import type { ClusterDocument } from './documents.ts';
import { followDocuments } from './follow-documents.ts';
import { requireFewDocuments } from './limits.ts';
import type { LoadPolicySet, PolicyInForce } from './policy-in-force.ts';
import { failedLoad, lacksPolicy } from './status.ts';
import type { LoadResult } from './status.ts';

/** A policy that follows the custom resources of a cluster. */
export interface FollowedPolicy extends PolicyInForce {
  close(): Promise<void>;
}

export interface FollowPolicyOptions {
  readonly client: ApiClient;
  readonly load: LoadPolicySet;
  /** A folder of this process: the documents are written there for the loader. */
  readonly folder: string;
  /** Folder with the files that policies refer to by relative paths. */
  readonly referred?: string;
  readonly log: Logger;
  readonly timing?: FollowTiming;
  /** As in `FollowDocumentsOptions`. */
  readonly statusJitterMs?: number;
}

/** In ms. There are only a few replicas. */
const statusRepeatMs = 300_000;
const unread = 'the policies of the cluster have not been read yet';

/**
 * Follows the TrustPolicy and EntitlementProfile objects, and puts them in force together: if one is not
 * valid, the last valid policy stays. Without any TrustPolicy there is no policy. Writes the result into the
 * status of each object. Returns immediately; the first decision is made after both lists have arrived.
 */
export function followPolicy(options: FollowPolicyOptions): FollowedPolicy {
  const { log } = options;
  let policy: TrustPolicy | undefined;
  let profiles: ProfileSet = profileSet([]);
  let problem: string | undefined = unread;
  /** Why the collections are not watched: the policy in force may not be the latest. */
  let trouble: string | undefined;
  /** The files that the last set named beside the documents, whether it is still in force or not. */
  let files: readonly string[] = [];
  /** The documents and the state of the files before the last load, if it succeeded. */
  let last:
    | { readonly all: readonly ClusterDocument[]; readonly files: string; readonly result: LoadResult }
    | undefined;

  async function loadAll(all: readonly ClusterDocument[]): Promise<LoadResult | undefined> {
    // Thousands of rules take seconds to load, in which no review is answered.
    const seen = await signatureOfFiles(files);
    if (last?.files === seen && sameTexts(last.all, all)) return last.result;
    last = undefined;
    const lacking = lacksPolicy(all);
    if (lacking !== undefined) {
      policy = undefined;
      problem = lacking.failure;
      return lacking;
    }
    try {
      requireFewDocuments(all);
      const paths = await writeDocuments(options.folder, all, options.referred);
      const { folder } = options;
      const set = await options.load({ paths, within: { folder, setting: '--policy-files' } });
      const changed = policy?.revision !== set.policy.revision;
      ({ policy, profiles } = set);
      problem = undefined;
      const { revision, rules } = set.policy;
      if (changed) log.info({ revision, rules: rules.length }, 'policy in force');
      // Each load writes the documents again.
      const written = new Set(paths);
      files = set.files.filter((file) => !written.has(file));
      last = { all, files: seen, result: { revision, problems: new Map(), failure: undefined } };
      return last.result;
    } catch (error) {
      const text = isPortcullisError(error) ? error.message : reasonOf(error);
      // An operator knows the objects, and not the folder of this process.
      const said = text.replaceAll(`${options.folder}/`, '');
      if (said !== problem)
        log.error(
          { problem: said, revision: policy?.revision ?? null },
          'the policy of the cluster is not valid',
        );
      problem = said;
      return failedLoad(error);
    }
  }

  const following = followDocuments({
    ...{ ...options, statusRepeatMs, load: loadAll },
    onContact: (why) => (trouble = why),
  });
  return {
    current: () => policy,
    profiles: () => profiles,
    problem() {
      if (trouble === undefined) return problem;
      if (problem === unread) return `${unread}: ${trouble}`;
      return problem ?? `the policies of the cluster cannot be watched: ${trouble}`;
    },
    close: following.close,
  };
}

function sameTexts(some: readonly ClusterDocument[], others: readonly ClusterDocument[]): boolean {
  return (
    some.length === others.length &&
    some.every(({ file, text }, at) => file === others[at]?.file && text === others[at].text)
  );
}
