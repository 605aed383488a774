import { createKeyedQueue } from '../../base/queues/index.ts';
import type { Dialect } from '../tuf-metadata/model.ts';
import { digested } from './accept.ts';
import { createCollectionKeys } from './collection-keys.ts';
import type { Upload } from './upload.ts';
import type { NewFile } from './accept-input.ts';
import type { Judge } from './upload-judge.ts';
import type { KeyVault } from './key-vault.ts';
import type { OnlineKey } from './online-keys.ts';
import { invalidUpdate, isRefusal, refuse } from './refusal.ts';
import type { Refusal } from './refusal.ts';
import { renewOnline } from './renew.ts';
import { createStandings } from './collection-states.ts';
import type { Standing } from './collection-states.ts';
import { fileToKeep } from './store.ts';
import type { DialectFiles, StoredFile, TrustStore } from './store.ts';

/** Takes memory that a request holds, as `HeldFiles` does. If it returns false, the request is refused. */
export interface Hold {
  /** For bytes that no other request shares. */
  reserve(bytes: number): boolean;
  /** For a current file. */
  share(file: Buffer): boolean;
}

/** A file, and for a current file how long the collection stays fresh, in ms: less than 0 after that. */
export type ServedFile = StoredFile & { readonly freshMs?: number };

/** Which file of a role is requested. */
export type Which = { readonly hash: string } | { readonly version: number } | 'current';

/**
 * The collections of a service. Reads come from memory where possible. Changes of one collection run one
 * after the other.
 */
export interface Collections {
  /**
   * Returns a file. Expired timestamps, and expired snapshots that the service signs, are signed again first.
   * @returns UNAVAILABLE when there is no memory for the file
   */
  read(
    gun: string,
    dialect: Dialect,
    role: string,
    which: Which,
    hold: Hold,
  ): Promise<ServedFile | Refusal | undefined>;
  publish(
    gun: string,
    uploads: { readonly notary?: readonly Upload[]; readonly tuf?: readonly Upload[] },
    hold: Pick<Hold, 'reserve'>,
  ): Promise<Refusal | undefined>;
  /** Whether the current files are in memory, so that other calls need not read them from the store. */
  isInMemory(gun: string, dialect: Dialect): boolean;
  /** Reads the current files into memory. */
  bring(gun: string, dialect: Dialect): Promise<void>;
  publicKey(gun: string, dialect: Dialect, role: OnlineKey['role']): Promise<unknown>;
  rotateKey(gun: string, dialect: Dialect, role: OnlineKey['role']): Promise<unknown>;
  remove(gun: string): Promise<void>;
}

/** The largest upload, and the largest collection, unless an operator sets another limit. */
export const usualBytes = 100 * 1024 * 1024;

/**
 * The collections of one store. No other process may write it.
 * @param mostBytes the size of the current files of a collection in one dialect: each read that memory cannot
 * answer reads all of them
 */
export function createCollections(
  store: TrustStore,
  vault: KeyVault,
  judge: Judge,
  clock: () => number,
  mostBytes = usualBytes,
): Collections {
  const standings = createStandings(store, mostBytes);
  const { load, remember, forget } = standings;
  const keys = createCollectionKeys(vault, standings, clock);
  /** Runs one change of a collection at a time. */
  const { run: inLine } = createKeyedQueue();

  const renewed = (gun: string, dialect: Dialect): Promise<Standing> =>
    inLine(gun, async () => {
      const existing = await load(gun, dialect);
      const now = clock();
      if (now < existing.freshUntil || existing.withheld) return existing;
      const made = renewOnline(dialect, existing.files, await vault.keysOf(gun), now);
      if (made.length === 0) return existing;
      const files = made.map((file) => fileToKeep(digested(file), now));
      const kept = await store.keep(gun, [{ dialect, files }], { at: now, withholdTuf: false });
      forget(gun);
      return kept ? remember(gun, dialect, merged(existing.files, files), false) : load(gun, dialect);
    });

  const publish: Collections['publish'] = (gun, uploads, { reserve }) =>
    inLine(gun, async () => {
      const now = clock();
      const online = await vault.keysOf(gun);
      const before = { notary: await load(gun, 'notary'), tuf: await load(gun, 'tuf') };
      if (!reserve(bytesIn(before.notary.files) + bytesIn(before.tuf.files))) return refuse('UNAVAILABLE');
      const updates: DialectFiles[] = [];
      const after = { notary: before.notary.files, tuf: before.tuf.files };
      for (const dialect of ['notary', 'tuf'] as const) {
        const posted = uploads[dialect];
        if (posted === undefined) continue;
        const { files } = before[dialect];
        const outcome = await judge.judge(dialect, {
          gun,
          now,
          uploads: posted,
          stored: bytesOf(files),
          online,
        });
        if (isRefusal(outcome)) return outcome;
        if (dialect === 'notary' && isOld(files, outcome)) return refuse('VERSION', {});
        const stored = outcome.map((file) => fileToKeep(file, now));
        updates.push({ dialect, files: stored });
        after[dialect] = merged(files, stored);
        const size = bytesIn(after[dialect]);
        if (size > mostBytes && size > bytesIn(files)) return tooLarge(size, mostBytes);
      }
      const [signedNotary, signedTuf] = [uploads.notary !== undefined, uploads.tuf !== undefined];
      if (signedTuf && after.notary.size > 0) {
        const path = await judge.differentTarget(gun, bytesOf(after.notary), bytesOf(after.tuf));
        if (isRefusal(path)) return path;
        if (path !== undefined)
          return invalidUpdate(
            'ErrValidation',
            `the two dialects sign different digests for ${JSON.stringify(path)}`,
          );
      }
      const withholdTuf = signedNotary && !signedTuf && before.tuf.files.size > 0;
      if (!(await store.keep(gun, updates, { at: now, withholdTuf }))) {
        forget(gun);
        return refuse('VERSION', {});
      }
      if (signedNotary) remember(gun, 'notary', after.notary, false);
      if (signedTuf || withholdTuf) remember(gun, 'tuf', after.tuf, withholdTuf);
      return undefined;
    });

  return {
    async read(gun, dialect, role, which, hold) {
      let existing = await load(gun, dialect);
      if (
        which === 'current' &&
        (role === 'timestamp' || role === 'snapshot') &&
        clock() >= existing.freshUntil
      )
        existing = await renewed(gun, dialect);
      if (existing.withheld) return undefined;
      const current = existing.files.get(role);
      const isCurrent =
        which === 'current' ||
        ('hash' in which ? current?.sha256 === which.hash : current?.version === which.version);
      if (isCurrent) {
        if (current === undefined) return undefined;
        if (!hold.share(current.bytes)) return refuse('UNAVAILABLE');
        return which === 'current' ? { ...current, freshMs: existing.freshUntil - clock() } : current;
      }
      const earlier = await ('hash' in which
        ? store.fileByHash(gun, dialect, role, which.hash)
        : store.fileByVersion(gun, dialect, role, which.version));
      if (earlier === undefined) return undefined;
      return hold.reserve(earlier.size) ? earlier.read() : refuse('UNAVAILABLE');
    },
    publish,
    isInMemory: standings.isInMemory,
    async bring(gun, dialect) {
      await load(gun, dialect);
    },
    publicKey: (gun, dialect, role) => inLine(gun, () => keys.publicKey(gun, dialect, role)),
    rotateKey: (gun, dialect, role) => inLine(gun, () => keys.rotate(gun, dialect, role)),
    remove: (gun) =>
      inLine(gun, async () => {
        await store.remove(gun, clock());
        forget(gun);
        vault.forget(gun);
      }),
  };
}

const bytesOf = (files: ReadonlyMap<string, StoredFile>): Map<string, Buffer> =>
  new Map([...files].map(([role, { bytes }]) => [role, bytes]));

function merged(
  files: ReadonlyMap<string, StoredFile>,
  added: readonly StoredFile[],
): Map<string, StoredFile> {
  const all = new Map(files);
  for (const file of added) all.set(file.role, file);
  return all;
}

function bytesIn(files: ReadonlyMap<string, StoredFile>): number {
  let bytes = 0;
  for (const file of files.values()) bytes += file.bytes.length;
  return bytes;
}

const tooLarge = (size: number, most: number): Refusal =>
  invalidUpdate(
    'ErrValidation',
    `the current files of the collection would have ${size} bytes, and the service stores at most ${most} bytes of a collection (--max-upload): publish smaller files, or several collections`,
  );

function isOld(files: ReadonlyMap<string, StoredFile>, added: readonly NewFile[]): boolean {
  return added.some(({ role, version }) => version <= (files.get(role)?.version ?? 0));
}
