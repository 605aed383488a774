import { LRUCache } from 'lru-cache';
import { createSerialQueue } from '../../base/queues/index.ts';
import type { Dialect } from '../tuf-metadata/model.ts';
import { expiryOf } from './remembered-files.ts';
import type { StoredFile, TrustStore } from './store.ts';

/** The current state of one collection in one dialect. */
export interface Standing {
  readonly files: ReadonlyMap<string, StoredFile>;
  /** Neither the timestamp nor the snapshot expires before this time; milliseconds since 1970. */
  readonly freshUntil: number;
  readonly withheld: boolean;
}

/** The current states of collections, from memory where possible. */
export interface Standings {
  /** Whether `load` needs no read of the store. */
  isInMemory(gun: string, dialect: Dialect): boolean;
  load(gun: string, dialect: Dialect): Promise<Standing>;
  /** Keeps in memory what was just stored. */
  remember(
    gun: string,
    dialect: Dialect,
    files: ReadonlyMap<string, StoredFile>,
    withheld: boolean,
  ): Standing;
  /** Forgets both dialects of a collection. */
  forget(gun: string): void;
}

const memoryBytes = 128 * 1024 * 1024;
/** The memory of one collection besides its files, in bytes. */
const overhead = 1024;

/**
 * Remembers nothing at first.
 * @param mostBytes the size of the largest collection, which must fit into memory
 */
export function createStandings(
  store: Pick<TrustStore, 'currentFiles' | 'isWithheld'>,
  mostBytes = 0,
): Standings {
  const maxSize = Math.max(memoryBytes, mostBytes + overhead);
  const known = new LRUCache<string, Standing>({ maxSize, sizeCalculation: weightOf });
  /**
   * Reads of the store under way: one for each collection and dialect, so that many clients at the same time
   * take the memory of one. A change removes the read, whose result is then of the time before the change.
   */
  const reading = new Map<string, Promise<Standing>>();
  /** One collection at a time: other work of the store runs between them, and memory holds one. */
  const inTurn = createSerialQueue();
  const read = async (gun: string, dialect: Dialect): Promise<Standing> => {
    const files = new Map((await store.currentFiles(gun, dialect)).map((file) => [file.role, file]));
    const withheld = dialect === 'tuf' && (await store.isWithheld(gun));
    return standingOf(dialect, files, withheld);
  };
  const begin = (key: string, gun: string, dialect: Dialect): Promise<Standing> => {
    const isLast = (): boolean => reading.get(key) === begun && reading.delete(key);
    const begun: Promise<Standing> = inTurn(() => read(gun, dialect)).then(
      (existing) => {
        if (isLast() && existing.files.size > 0) known.set(key, existing);
        return existing;
      },
      (thrown: unknown) => {
        isLast();
        throw thrown;
      },
    );
    reading.set(key, begun);
    return begun;
  };
  const drop = (key: string): void => {
    reading.delete(key);
    known.delete(key);
  };
  return {
    isInMemory: (gun, dialect) => known.has(keyOf(gun, dialect)),
    async load(gun, dialect) {
      const key = keyOf(gun, dialect);
      return known.get(key) ?? reading.get(key) ?? begin(key, gun, dialect);
    },
    remember(gun, dialect, files, withheld) {
      const existing = standingOf(dialect, files, withheld);
      const key = keyOf(gun, dialect);
      drop(key);
      known.set(key, existing);
      return existing;
    },
    forget(gun) {
      drop(keyOf(gun, 'notary'));
      drop(keyOf(gun, 'tuf'));
    },
  };
}

const keyOf = (gun: string, dialect: Dialect): string => `${dialect}\n${gun}`;

function standingOf(dialect: Dialect, files: ReadonlyMap<string, StoredFile>, withheld: boolean): Standing {
  const [timestamp, snapshot] = [files.get('timestamp')?.bytes, files.get('snapshot')?.bytes];
  const freshUntil = Math.min(
    timestamp === undefined ? Number.POSITIVE_INFINITY : expiryOf(dialect, 'timestamp', timestamp),
    snapshot === undefined ? Number.POSITIVE_INFINITY : expiryOf(dialect, 'snapshot', snapshot),
  );
  return { files, freshUntil, withheld };
}

function weightOf({ files }: Standing): number {
  let bytes = overhead;
  for (const file of files.values()) bytes += file.bytes.length;
  return bytes;
}
