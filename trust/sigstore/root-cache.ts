import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { parseJson } from '../../base/json/index.ts';
import { recordOf } from '../json/strict-json.ts';

/**
 * The default folder of updated roots. It belongs to the machine, so that the daemon and commands see the
 * same.
 */
export const defaultRootCache = '/var/lib/portcullis/sigstore-roots';

/** Maximum size of a trusted root, in bytes; the public one has 7 KiB. */
export const maximumRootBytes = 1024 * 1024;

/**
 * Returns the folder of one TUF repository in a cache. Its name is the host, for recognition, and a digest of
 * the whole address.
 */
export function rootFolder(cache: string, url: string): string {
  const address = url.replace(/\/+$/, '');
  const host = URL.canParse(address) ? new URL(address).hostname.replace(/[^a-z0-9.-]/gi, '_') : 'repository';
  return join(cache, `${host}-${createHash('sha256').update(address).digest('hex').slice(0, 12)}`);
}

/** Returns the file of the trusted root that the latest update of that repository has verified. */
export function cachedRootFile(cache: string, url: string): string {
  return join(rootFolder(cache, url), 'trusted_root.json');
}

/** TUF target with the services that sign for an instance (sigstore/root-signing). */
export const signingConfigTarget = 'signing_config.v0.2.json';

/**
 * Returns the file of the signing configuration that the latest update of that repository has verified. The
 * repository may have none.
 */
export function cachedSigningConfigFile(cache: string, url: string): string {
  return join(rootFolder(cache, url), signingConfigTarget);
}

/** Returns the folder of that repository's TUF metadata, as the latest update has verified it. */
export function metadataFolder(cache: string, url: string): string {
  return join(rootFolder(cache, url), 'metadata');
}

/**
 * Returns the file of the timestamp, whose expiry ends the validity of the latest update (TUF specification,
 * section 5.4: freeze attacks).
 */
export function cachedTimestampFile(cache: string, url: string): string {
  return join(metadataFolder(cache, url), 'timestamp.json');
}

/**
 * Returns the expiry of TUF metadata that was verified when it was fetched, in milliseconds since 1970;
 * undefined when it cannot be read.
 */
export function expiryOfMetadata(bytes: Uint8Array): number | undefined {
  try {
    const { expires } = recordOf(recordOf(parseJson(Buffer.from(bytes).toString('utf8')))?.['signed']) ?? {};
    const time = typeof expires === 'string' ? Date.parse(expires) : Number.NaN;
    return Number.isNaN(time) ? undefined : time;
  } catch {
    return undefined;
  }
}
