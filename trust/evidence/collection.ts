import { referrerPages } from '../../base/distribution/index.ts';
import type { Descriptor, RegistryRepository } from '../../base/distribution/index.ts';
import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { EvidenceItem, UnreadSource } from '../findings/types.ts';
import type { GatherLimits } from './limits.ts';

/** Sizes in bytes. */
export interface LargeLayers {
  readonly layer: number;
  readonly together: number;
  /** The setting, for use after "raise". */
  readonly setting: string;
}

/** The results of one gathering so far, within its limits. */
export interface Collection {
  readonly limits: GatherLimits;
  /** Aborted when the caller aborts or the time is up. */
  readonly signal: AbortSignal;
  /**
   * Takes one of the slots for items. Returns false when none is left, which is then recorded once for the
   * source.
   */
  take(source: string): boolean;
  /**
   * Reserves that many of the bytes kept in all. Returns false when fewer are left, which is then recorded.
   */
  reserve(bytes: number, source: string): boolean;
  /**
   * Returns a blob's bytes, fetched and counted once for all callers. Returns undefined when there is no room
   * for the blob.
   * @throws PortcullisError of base/distribution
   */
  blob(
    repository: RegistryRepository,
    layer: Descriptor,
    large: LargeLayers | undefined,
    source: string,
  ): Promise<Uint8Array | undefined>;
  add(item: EvidenceItem): void;
  /** Records that a source has more than the limit, and was read only in part. */
  overflow(source: string): void;
  /** Records a source that could not be reached. */
  failed(source: string, error: unknown): void;
  /** Returns the items in an order that does not depend on which answer came first. */
  items(): EvidenceItem[];
  unreachable(): UnreadSource[];
  close(): void;
}

export function createCollection(limits: GatherLimits, outer: AbortSignal | undefined): Collection {
  const items: EvidenceItem[] = [];
  const unread = new Map<string, Omit<UnreadSource, 'source'>>();
  const timeout = new AbortController();
  const timer = setTimeout(
    () => timeout.abort(new Error(`the time for gathering evidence (${limits.milliseconds} ms) is up`)),
    limits.milliseconds,
  );
  let taken = 0;
  let bytesLeft = limits.totalBytes;
  const overflow = (source: string): void => {
    unread.set(source, {
      why: `it lists more than the limit for one image (${limits.items} items, ${limits.listing} entries, ${referrerPages} pages, ${limits.totalBytes} bytes)`,
      inPart: true,
    });
  };
  const signal = outer === undefined ? timeout.signal : AbortSignal.any([outer, timeout.signal]);
  const reserve = (bytes: number, source: string): boolean => {
    if (bytes > bytesLeft) {
      overflow(source);
      return false;
    }
    bytesLeft -= bytes;
    return true;
  };
  let largeTaken = 0;
  /** Large layers have a limit of their own, so that they do not use up the room for signatures. */
  const reserveLarge = (bytes: number, large: LargeLayers | undefined, source: string): boolean => {
    if (large !== undefined && largeTaken + bytes <= large.together) {
      largeTaken += bytes;
      return true;
    }
    const more = `it lists attestations of more than ${large?.together ?? 0} bytes in total, which is the limit for one image`;
    unread.set(source, {
      why: `${more}: raise ${large?.setting ?? ''}, or remove old attestations`,
      inPart: true,
    });
    return false;
  };
  const blobs = new Map<string, Promise<Uint8Array>>();
  return {
    limits,
    signal,
    take(source) {
      if (taken >= limits.items) {
        overflow(source);
        return false;
      }
      taken += 1;
      return true;
    },
    reserve,
    async blob(repository, layer, large, source) {
      const limit = Math.max(limits.blobBytes, large?.layer ?? 0);
      const key = JSON.stringify([repository.host, repository.repository, layer.digest, layer.size, limit]);
      let pending = blobs.get(key);
      if (pending === undefined) {
        // The call below refuses a blob that is too large, with its own sentence.
        if (
          layer.size <= limit &&
          !(layer.size > limits.blobBytes
            ? reserveLarge(layer.size, large, source)
            : reserve(layer.size, source))
        )
          return undefined;
        pending = repository.blobBytes(layer, limit, signal);
        blobs.set(key, pending);
      }
      return pending;
    },
    overflow,
    add: (item) => void items.push(item),
    failed(source, error) {
      unread.set(source, { why: reasonOf(timeout.signal.aborted ? timeout.signal.reason : error) });
    },
    items: () => items.toSorted((a, b) => compare(sortKey(a), sortKey(b))),
    unreachable: () =>
      [...unread].map(([source, how]) => ({ source, ...how })).sort((a, b) => compare(a.source, b.source)),
    close() {
      clearTimeout(timer);
      // Requests that are still in progress are no longer needed.
      timeout.abort();
    },
  };
}

function sortKey(item: EvidenceItem): string {
  return [
    item.attachedTo,
    item.kind,
    item.manifestDigest,
    item.blobDigest,
    item.servedBy,
    JSON.stringify(item.annotations),
  ].join('\n');
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Whether the registry answered that the object does not exist: an answer, not a failure. */
export function isNotFound(error: unknown): boolean {
  return isPortcullisError(error) && error.code === 'DISTRIBUTION_NOT_FOUND';
}

/**
 * Whether the registry gave an answer that can never count: such an item is recorded with its problem. In
 * every other case (no answer, no permission, no time) the source is unreachable, and the verdict is
 * `undecided`.
 */
export function isBadContent(error: unknown): boolean {
  return (
    isPortcullisError(error) &&
    (error.kind === 'data-loss' || error.kind === 'invalid' || error.kind === 'not-found')
  );
}
