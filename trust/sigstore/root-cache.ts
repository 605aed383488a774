import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { parseJson } from '../../base/json/index.ts';
import { recordOf } from '../strict-json.ts';

/** Where updated roots are kept unless told otherwise: of the machine, so that daemon and commands see the same. */
export const defaultRootCache = '/var/lib/portcullis/sigstore-roots';

/** Largest trusted root read, in bytes; the public one has 7 KiB. */
export const maximumRootBytes = 1024 * 1024;

/** The folder of one TUF repository in a cache: its host, to be recognised, and a digest of its whole address. */
export function rootFolder(cache: string, url: string): string {
  const address = url.replace(/\/+$/, '');
  const host = URL.canParse(address) ? new URL(address).hostname.replace(/[^a-z0-9.-]/gi, '_') : 'repository';
  return join(cache, `${host}-${createHash('sha256').update(address).digest('hex').slice(0, 12)}`);
}

/** The trusted root that the latest update of that repository has verified. */
export function cachedRootFile(cache: string, url: string): string {
  return join(rootFolder(cache, url), 'trusted_root.json');
}

/** TUF target with the services that sign for an instance (sigstore/root-signing). */
export const signingConfigTarget = 'signing_config.v0.2.json';

/** The signing configuration that the latest update of that repository has verified, where it has one. */
export function cachedSigningConfigFile(cache: string, url: string): string {
  return join(rootFolder(cache, url), signingConfigTarget);
}

/** TUF metadata of that repository, as the latest update has verified them. */
export function metadataFolder(cache: string, url: string): string {
  return join(rootFolder(cache, url), 'metadata');
}

/** What the latest update knows of that repository ends when this says so (TUF specification, section 5.4: freeze attacks). */
export function cachedTimestampFile(cache: string, url: string): string {
  return join(metadataFolder(cache, url), 'timestamp.json');
}

/** Of TUF metadata that was verified when it was fetched, in milliseconds since 1970; undefined when it can not be read. */
export function expiryOfMetadata(bytes: Uint8Array): number | undefined {
  try {
    const { expires } = recordOf(recordOf(parseJson(Buffer.from(bytes).toString('utf8')))?.['signed']) ?? {};
    const time = typeof expires === 'string' ? Date.parse(expires) : Number.NaN;
    return Number.isNaN(time) ? undefined : time;
  } catch {
    return undefined;
  }
}
