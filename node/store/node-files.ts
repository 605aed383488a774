import { basename, join } from 'node:path';
import { failure, fileReason, orThrow } from '../../base/errors/index.ts';
import { readPlainFile } from '../../base/files/index.ts';
import { parseJson } from '../../base/json/index.ts';
import { writeFileAtomic } from '../../base/storage/index.ts';
import { fingerprintOf } from '../model/fingerprint.ts';
import type { NodeState, Owned, Section } from '../model/types.ts';

/** Where a state came from. */
export type StateSource =
  | { readonly kind: 'file'; readonly file: string }
  | { readonly kind: 'group'; readonly group: string; readonly generation: number };

/** A state that was applied to this node. */
export interface DesiredState {
  /** Fingerprint of `state`. */
  readonly revision: string;
  readonly source: StateSource;
  /** RFC 3339. */
  readonly appliedAt: string;
  readonly state: NodeState;
}

/** Records of the items that we made, by section and name. */
export type OwnedItems = Readonly<Partial<Record<Section, Readonly<Record<string, Owned>>>>>;

/** A change or an observation that failed. */
export interface StatusFailure {
  /** Absent: the section could not be observed, or does not work. */
  readonly item?: string;
  readonly why: string;
  readonly attempts: number;
  /** RFC 3339. */
  readonly next?: string;
}

/** Counts since the reconciler started. */
export interface SectionCounts {
  readonly created: number;
  readonly updated: number;
  readonly deleted: number;
  /** How many of these repaired what somebody else had changed. */
  readonly healed: number;
  readonly failed: number;
}

export interface SectionStatus {
  readonly section: Section;
  readonly state: 'changing' | 'failed' | 'in sync' | 'waiting';
  readonly items: number;
  readonly failures: readonly StatusFailure[];
  readonly counts: SectionCounts;
  /** The latest changes, newest last. */
  readonly recent: readonly { readonly at: string; readonly change: string; readonly drift: boolean }[];
}

/** The status that the reconciler saw last. */
export interface NodeStatus {
  readonly pid: number;
  /** RFC 3339. Written at least every ten seconds. */
  readonly at: string;
  readonly revision?: string;
  readonly source?: StateSource;
  /** RFC 3339. The request for the state that the rest is about. An earlier version does not write it. */
  readonly appliedAt?: string;
  /** Every section is in its desired state. */
  readonly converged: boolean;
  /** RFC 3339. Absent while not converged. */
  readonly since?: string;
  readonly sections: readonly SectionStatus[];
  /** Why a newer desired state was not taken. */
  readonly problem?: string;
  /** The progress of the node in its group, as a sentence. */
  readonly group?: string;
}

/** Policies are a megabyte at most, and everything else together less. */
const mostBytes = 16 * 1024 * 1024;

/** The files of a node's state in `folder`. */
export interface NodeFiles {
  readonly folder: string;
  /** @throws NODE_STATE_DAMAGED, STORAGE_NO_ACCESS */
  readDesired(): Promise<DesiredState | undefined>;
  /** @throws STORAGE_… */
  writeDesired(desired: DesiredState): Promise<void>;
  /** @throws NODE_STATE_DAMAGED, STORAGE_NO_ACCESS */
  readOwned(): Promise<OwnedItems>;
  /** @throws STORAGE_… */
  writeOwned(owned: OwnedItems): Promise<void>;
  /** @throws NODE_STATE_DAMAGED, STORAGE_NO_ACCESS */
  readStatus(): Promise<NodeStatus | undefined>;
  /** @throws STORAGE_… */
  writeStatus(status: NodeStatus): Promise<void>;
}

/** Opens the files of a folder, which may not exist yet. */
export function openNodeFiles(folder: string): NodeFiles {
  const at = (name: string): string => join(folder, name);
  return {
    folder,
    async readDesired() {
      const found = await readObject(at('desired.json'));
      if (found === undefined) return undefined;
      if (typeof found['state'] !== 'object' || found['revision'] !== fingerprintOf(found['state']))
        throw damaged(at('desired.json'), 'its state does not match its revision');
      return found as unknown as DesiredState;
    },
    writeDesired: (desired) => writeFileAtomic(at('desired.json'), `${JSON.stringify(desired, null, 1)}\n`),
    async readOwned() {
      const found = (await readObject(at('owned.json'))) ?? {};
      const sections = Object.values(found);
      if (!sections.every((items) => isObject(items) && Object.values(items).every(isObject)))
        throw damaged(at('owned.json'), 'a section or an item in it is not an object');
      return found;
    },
    writeOwned: (owned) => writeFileAtomic(at('owned.json'), `${JSON.stringify(owned, null, 1)}\n`),
    readStatus: async () => (await readObject(at('status.json'))) as unknown as NodeStatus | undefined,
    writeStatus: (status) =>
      writeFileAtomic(at('status.json'), `${JSON.stringify(status, null, 1)}\n`, { durable: false }),
  };
}

async function readObject(path: string): Promise<Record<string, unknown> | undefined> {
  let text: string;
  try {
    text = (await readPlainFile(path, mostBytes)).toString();
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    if (code === 'EACCES')
      throw failure(
        'STORAGE_NO_ACCESS',
        'unavailable',
        'read the state of this node from',
        path,
        fileReason(thrown, path),
        'run the command as root',
      );
    throw damaged(path, `it cannot be read: ${fileReason(thrown, path)}`);
  }
  const value: unknown = orThrow(
    () => parseJson(text),
    () => damaged(path, 'it is not JSON'),
  );
  if (!isObject(value)) throw damaged(path, 'it is not an object');
  return value;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const fixes = {
  'desired.json':
    'start `portcullis node serve`, which gets the state of its group again; on a node without a group, apply the state with --force',
  'owned.json':
    'restore the file from a backup, or remove it; without it, networks, services and policies of the state count as not made by `portcullis node apply`: remove them too, and apply the state again',
  'status.json': 'start `portcullis node serve`, which writes the file again',
} as const;
type FileName = keyof typeof fixes;

const damaged = (path: string, why: string) =>
  failure(
    'NODE_STATE_DAMAGED',
    'data-loss',
    'read the state of this node from',
    path,
    why,
    // The files of a node have no other names.
    fixes[basename(path) as FileName],
  );
