import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { tryPlainFile } from '../../base/files/index.ts';
import { parseJson } from '../../base/json/index.ts';
import { dropAbandonedWrites, makeFolderSync, writeFileAtomic } from '../../base/storage/index.ts';
import { sha256Of, unpackRelease } from '../../trust/policy-release/index.ts';
import type { PolicyRelease, ReleaseFiles } from '../../trust/policy-release/index.ts';
import { folderStore } from '../../trust/tuf-client/index.ts';
import type { TufStore } from '../../trust/tuf-client/index.ts';
import { differenceOf, unpackFiles } from '../policy/unpacked-files.ts';
import { emptyState } from './state.ts';
import type { DeliveryState } from './state.ts';

type Named = Pick<PolicyRelease, 'number' | 'sha256'>;

/** The files that the node keeps of a subscription. */
export interface ReleaseFolder {
  /** Trusted metadata. */
  readonly metadata: TufStore;
  /** @throws PortcullisError `POLICY_DELIVERY_STATE` when the record cannot be read */
  load(): Promise<DeliveryState>;
  /** Durable when the promise resolves. */
  save(state: DeliveryState): Promise<void>;
  /** Returns a stored archive whose hash is correct; undefined when there is none. */
  archive(release: Named): Promise<Buffer | undefined>;
  keepArchive(release: Named, archive: Buffer): Promise<void>;
  /** Returns the folder of a release with exactly these files; unpacks it unless it is there. */
  unpack(release: Named, files: ReleaseFiles): Promise<string>;
  /** Throws `POLICY_RELEASE_ALTERED` unless the folder holds exactly these files. */
  refuseAltered(folder: string, files: ReleaseFiles): Promise<void>;
  /** Removes everything of other releases. Ignores what cannot be removed. */
  forget(kept: readonly Named[]): Promise<void>;
}

const mostStateBytes = 4 * 1024 * 1024;

/**
 * Opens the folder of a subscription.
 * @throws the errors of base/storage
 */
export async function openReleaseFolder(folder: string): Promise<ReleaseFolder> {
  const [archives, unpacked] = [join(folder, 'archives'), join(folder, 'releases')];
  for (const one of [folder, archives, unpacked]) makeFolderSync(one);
  const record = join(folder, 'state.json');
  await dropAbandonedWrites(record);
  const archiveOf = ({ sha256 }: Named): string => join(archives, `${sha256}.tar`);
  const folderOf = ({ number, sha256 }: Named): string => join(unpacked, `${number}-${sha256.slice(0, 12)}`);

  return {
    metadata: folderStore(join(folder, 'metadata')),
    async load() {
      let text: string;
      try {
        text = await readFile(record, 'utf8');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return emptyState;
        throw unreadable(record, error);
      }
      try {
        const state = parseJson(text) as Partial<DeliveryState>;
        if (text.length > mostStateBytes || state.version !== 1 || !Array.isArray(state.halted))
          throw new Error('it does not have the form of version 1');
        return state as DeliveryState;
      } catch (error) {
        throw unreadable(record, error);
      }
    },
    save: (state) => writeFileAtomic(record, JSON.stringify(state)),
    async archive(release) {
      const read = await tryPlainFile(archiveOf(release), mostStateBytes * 4).catch(() => undefined);
      if (read === undefined || !('bytes' in read)) return undefined;
      return sha256Of(read.bytes) === release.sha256 ? read.bytes : undefined;
    },
    keepArchive: (release, archive) => writeFileAtomic(archiveOf(release), archive),
    async unpack(release, files) {
      const target = folderOf(release);
      await unpackFiles(target, files);
      return target;
    },
    async refuseAltered(path, files) {
      const found = await differenceOf(path, files);
      if (found === undefined) return;
      throw new PortcullisError({
        code: 'POLICY_RELEASE_ALTERED',
        kind: 'data-loss',
        attempted: 'load policy release',
        on: path,
        why: `${found} differs from the signed release`,
        fix: 'do not change files of a release, but publish another release; a restart of portcullisd restores the files',
      });
    },
    async forget(kept) {
      const names = new Set(kept.flatMap((one) => [archiveOf(one), folderOf(one)]));
      for (const place of [archives, unpacked])
        for (const name of await readdir(place).catch(() => [] as string[]))
          if (!names.has(join(place, name)))
            await rm(join(place, name), { recursive: true, force: true }).catch(() => undefined);
    },
  };
}

function unreadable(file: string, error: unknown): PortcullisError {
  return new PortcullisError({
    code: 'POLICY_DELIVERY_STATE',
    kind: 'data-loss',
    attempted: 'read the record of policy releases',
    on: file,
    why: reasonOf(error),
    fix: 'restore the file, or remove it so that the node fetches the release again',
    cause: error,
  });
}

/** Returns the files of a release that is stored here; undefined when its archive is gone or damaged. */
export async function storedFiles(
  folder: Pick<ReleaseFolder, 'archive'>,
  release: Named,
): Promise<ReleaseFiles | undefined> {
  const archive = await folder.archive(release);
  return archive === undefined ? undefined : unpackRelease(archive);
}
