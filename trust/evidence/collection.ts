import type { Descriptor, RegistryRepository } from '../../base/distribution/index.ts';
import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { EvidenceItem } from '../types.ts';
import type { GatherLimits } from './limits.ts';

/** Sizes in bytes. */
export interface LargeLayers {
  readonly layer: number;
  readonly together: number;
  /** The setting, to stand after "raise". */
  readonly setting: string;
}

/** What one gathering has found so far, within its limits. */
export interface Collection {
  readonly limits: GatherLimits;
  /** Ends when the caller aborts or the time is up. */
  readonly signal: AbortSignal;
  /** Takes one of the places for items; false when none is left, which is then recorded once for the source. */
  take(source: string): boolean;
  /** Takes that much of the bytes kept in all; false when so much is not left, which is then recorded. */
  reserve(bytes: number, source: string): boolean;
  /**
   * A blob's bytes, fetched and counted once however many ask for it; undefined when no room is left for it.
   * @throws PortcullisError of base/distribution
   */
  blob(repository: RegistryRepository, layer: Descriptor, large: LargeLayers | undefined, source: string): Promise<Uint8Array | undefined>;
  add(item: EvidenceItem): void;
  /** Records that a source holds more than is read. */
  overflow(source: string): void;
  /** Records a source that could not be asked. */
  failed(source: string, error: unknown): void;
  /** In an order that does not depend on which answer came first. */
  items(): EvidenceItem[];
  unreachable(): { readonly source: string; readonly why: string }[];
  close(): void;
}

export function createCollection(limits: GatherLimits, outer: AbortSignal | undefined): Collection {
  const items: EvidenceItem[] = [];
  const unreachable = new Map<string, string>();
  const timeout = new AbortController();
  const timer = setTimeout(
    () => timeout.abort(new Error(`the time for gathering evidence (${limits.milliseconds} ms) is up`)),
    limits.milliseconds,
  );
  let taken = 0;
  let bytesLeft = limits.totalBytes;
  const overflow = (source: string): void => {
    unreachable.set(
      source,
      `it lists more than is read for one image (${limits.items} items, ${limits.listing} entries, ${limits.totalBytes} bytes)`,
    );
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
  /** Large layers have room of their own, so that they leave that of signatures alone. */
  const reserveLarge = (bytes: number, large: LargeLayers | undefined, source: string): boolean => {
    if (large !== undefined && largeTaken + bytes <= large.together) {
      largeTaken += bytes;
      return true;
    }
    const more = `it lists attestations of more than ${large?.together ?? 0} bytes together, and no more are read for one image`;
    unreachable.set(source, `${more}: raise ${large?.setting ?? ''}, or remove old ones`);
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
        // What is too large is refused by the call below, with its own sentence.
        if (layer.size <= limit && !(layer.size > limits.blobBytes ? reserveLarge(layer.size, large, source) : reserve(layer.size, source)))
          return undefined;
        pending = repository.blobBytes(layer, limit, signal);
        blobs.set(key, pending);
      }
      return pending;
    },
    overflow,
    add: (item) => void items.push(item),
    failed(source, error) {
      unreachable.set(source, timeout.signal.aborted ? reasonOf(timeout.signal.reason) : reasonOf(error));
    },
    items: () => items.toSorted((a, b) => compare(sortKey(a), sortKey(b))),
    unreachable: () => [...unreachable].map(([source, why]) => ({ source, why })).sort((a, b) => compare(a.source, b.source)),
    close() {
      clearTimeout(timer);
      // Whatever is still under way is for nobody.
      timeout.abort();
    },
  };
}

function sortKey(item: EvidenceItem): string {
  return [item.attachedTo, item.kind, item.manifestDigest, item.blobDigest, item.servedBy, JSON.stringify(item.annotations)].join('\n');
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The registry answered that there is no such thing: an answer, not a failure. */
export function isNotFound(error: unknown): boolean {
  return isPortcullisError(error) && error.code === 'DISTRIBUTION_NOT_FOUND';
}

/**
 * Whether the registry answered, and what it answered can never count: such an item is recorded with its problem.
 * Everything else (no answer, no permission, no time) is an unreachable source, with which a verdict is `undecided`.
 */
export function isBadContent(error: unknown): boolean {
  return isPortcullisError(error) && (error.kind === 'data-loss' || error.kind === 'invalid' || error.kind === 'not-found');
}
