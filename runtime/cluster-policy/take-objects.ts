import {
  failedLoad,
  lacksPolicy,
  requireFewDocuments,
  requireWithinLimits,
} from '../../admission/policy/index.ts';
import type { ClusterDocument, LoadResult } from '../../admission/policy/index.ts';
import { isPortcullisError, PortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { loadPolicySet } from '../policy/policy-set.ts';
import type { PolicyHolder } from '../policy/policy-watch.ts';
import type { NamedFiles } from '../policy/unpacked-files.ts';
import { digestOf } from './object-folder.ts';
import type { ObjectFolder, ObjectSet, Remembered } from './object-folder.ts';
import { readReferredFiles } from './referred-files.ts';

interface Deps {
  readonly folder: ObjectFolder;
  readonly holder: Pick<PolicyHolder, 'current' | 'limit' | 'loads' | 'problem' | 'use'>;
  /** Folder of the files that objects name; undefined: there are none. */
  readonly policyFiles: string | undefined;
  readonly log: Logger;
  readonly now: () => Date;
}

/** The objects of the cluster on this node. One call at a time. */
export interface ObjectTaking {
  /** Returns the set in force, or why there is none; undefined: the cluster has not been read yet. */
  standing(): Remembered | undefined;
  /** Why the latest objects are not in force; undefined: they are. */
  problem(): { readonly why: string; readonly at: string } | undefined;
  /**
   * Puts all objects in force together. If anything is wrong with one of them, or if they cannot be stored,
   * what is in force stays. Without a TrustPolicy, everything new is denied.
   * @returns undefined after a failure of this node, which says nothing about the objects
   */
  take(documents: readonly ClusterDocument[]): Promise<LoadResult | undefined>;
}

/** @param initial what the node remembers; it is in force already */
export function createObjectTaking(deps: Deps, initial: Remembered | undefined): ObjectTaking {
  const { folder, holder, log, now } = deps;
  let standing = initial;
  /** Whether the disk has the state in `standing`, also if it is that there is no policy. */
  let isSaved = true;
  let problem: { readonly why: string; readonly at: string } | undefined;

  const refuse = (error: unknown): void => {
    // A user knows the objects, and not the folder into which they are written for the loader.
    const why = folder.shorten(isPortcullisError(error) ? error.message : reasonOf(error));
    if (why !== problem?.why)
      log.error(
        { problem: why, revision: holder.current()?.revision ?? null },
        'the policies of the cluster are not in force: what was in force before stays',
      );
    problem = { why, at: now().toISOString() };
  };

  /** Denies everything new, also after a restart. */
  async function leave(lacking: string): Promise<void> {
    // First: a full disk must not keep a policy in force that the cluster has removed.
    holder.limit({ refuses: 'everything', why: lacking });
    problem = undefined;
    if (standing === undefined || !('lacking' in standing)) {
      log.warn({ problem: lacking }, 'everything new is denied');
      standing = { since: now().toISOString(), lacking };
      isSaved = false;
    }
    if (isSaved) return;
    try {
      await folder.save(standing);
    } catch (error) {
      // A restart then denies everything, too: the removed policy must not return with it.
      await folder.remove();
      throw error;
    }
    isSaved = true;
    await folder.forget(undefined);
  }

  async function use(set: ObjectSet): Promise<void> {
    const before = standing;
    const source = await folder.unpack(set);
    await stored(() => folder.save(set));
    standing = set;
    const { failed } = holder.loads();
    await holder.use(source);
    // Not by the policy in force: it may be limited until the set is loaded.
    if (holder.loads().failed === failed) return;
    const why = holder.problem() ?? 'the stored objects could not be read';
    // The files were valid a moment ago: the disk fails.
    standing = before;
    if (before !== undefined) await folder.save(before);
    if (before !== undefined && 'files' in before) await holder.use(await folder.unpack(before));
    throw new Error(why);
  }

  async function takeValid(
    documents: readonly ClusterDocument[],
    files: NamedFiles,
  ): Promise<LoadResult | undefined> {
    if (standing !== undefined && 'files' in standing && digestOf(standing.files) === digestOf(files)) {
      const { revision } = standing;
      // Objects in between may have been refused. At a start, the files may not have been readable.
      if (holder.current()?.revision === revision) {
        problem = undefined;
        return { revision, problems: new Map(), failure: undefined };
      }
    }
    let set: ObjectSet;
    try {
      set = await validate(folder, documents, files, now());
    } catch (error) {
      refuse(error);
      return failedLoad(error);
    }
    try {
      await use(set);
    } catch (error) {
      refuse(error);
      return undefined;
    }
    problem = undefined;
    holder.limit(undefined);
    return { revision: set.revision, problems: new Map(), failure: undefined };
  }

  return {
    standing: () => standing,
    problem: () => problem,
    async take(documents) {
      const lacking = lacksPolicy(documents);
      if (lacking !== undefined) {
        await leave(lacking.failure);
        return lacking;
      }
      try {
        requireFewDocuments(documents);
      } catch (error) {
        refuse(error);
        return failedLoad(error);
      }
      let files: NamedFiles;
      try {
        files = await filesOf(documents, deps.policyFiles);
      } catch (error) {
        refuse(error);
        return undefined;
      }
      const result = await takeValid(documents, files);
      await folder.forget(standing !== undefined && 'files' in standing ? standing : undefined);
      return result;
    },
  };
}

/** @throws what is wrong with the objects */
async function validate(
  folder: ObjectFolder,
  documents: readonly ClusterDocument[],
  files: NamedFiles,
  at: Date,
): Promise<ObjectSet> {
  const names = documents.map(({ file }) => file);
  const source = await folder.unpack({ documents: names, files });
  const within = { folder: source.folder, setting: 'cluster.policyFiles' };
  const set = await loadPolicySet({ paths: source.paths, within });
  return {
    since: at.toISOString(),
    revision: set.policy.revision,
    objects: documents.map(({ kind, name, generation }) => ({ kind, name, generation })),
    ...{ documents: names, files },
  };
}

/**
 * Returns the texts of the documents, with the files that they may name.
 * @throws PortcullisError `POLICY_OBJECTS_FILES` · `POLICY_OBJECTS_TOO_LARGE`
 */
async function filesOf(
  documents: readonly ClusterDocument[],
  policyFiles: string | undefined,
): Promise<NamedFiles> {
  const files = new Map(policyFiles === undefined ? [] : await readReferredFiles(policyFiles));
  for (const { file, text } of documents) files.set(file, Buffer.from(text));
  const bytes = [...files.values()].reduce((sum, { length }) => sum + length, 0);
  requireWithinLimits('the cluster', files.size, bytes);
  return files;
}

async function stored(act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    throw new PortcullisError({
      code: 'POLICY_OBJECTS_UNSTORED',
      kind: 'unavailable',
      attempted: 'keep the policies of the cluster',
      on: 'the folder `root`',
      why: isPortcullisError(error) ? error.failure.why : reasonOf(error),
      fix: 'free space on the file system of `root`; until then, the previous policy stays in force',
      cause: error,
    });
  }
}
