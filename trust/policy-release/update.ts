import { smallest } from '../../base/lists/index.ts';
import { updateMetadata } from '../tuf-client/update.ts';
import type { TufSource, TufStore } from '../tuf-client/source.ts';
import { releasesIn } from './release.ts';
import type { PolicyRelease } from './release.ts';

/** Releases as signed metadata list them, and when that metadata expire. */
export interface KnownReleases {
  /** Newest first, withdrawn ones included. */
  readonly releases: readonly PolicyRelease[];
  /** ISO 8601: the earliest expiry of root, timestamp, snapshot and targets. */
  readonly expires: string;
}

/**
 * Small limits: the metadata list some releases of policies, and the caller's thread reads them.
 */
const limits = {
  rootBytes: 256 * 1024,
  timestampBytes: 16 * 1024,
  unsizedBytes: 1024 * 1024,
  metadataBytes: 1024 * 1024,
} as const;

/**
 * Updates the trusted metadata of a collection of releases, and lists the releases of a channel. Only the
 * role `targets` of the collection counts; give it several keys and a threshold to have several signers.
 * @param input.store holds at least the first root
 * @throws the codes of tuf/failure.ts
 */
export async function updateReleases(input: {
  readonly source: TufSource;
  readonly store: TufStore;
  readonly channel: string;
  readonly now: Date;
}): Promise<KnownReleases> {
  const { source, store, channel, now } = input;
  const { trusted } = await updateMetadata({ dialect: 'tuf', source, store, now, limits });
  const targets = trusted.targets.get('targets');
  const ends = [trusted.root, trusted.timestamp, trusted.snapshot, targets].flatMap((one) =>
    one === undefined ? [] : [one.signed.expires],
  );
  return {
    releases: releasesIn(targets?.signed.targets ?? [], channel),
    expires: new Date(smallest(ends)).toISOString(),
  };
}
