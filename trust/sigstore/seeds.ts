import { parseJson } from '../../base/json/index.ts';
import seeds from '@sigstore/tuf/seeds.json' with { type: 'json' };
import { recordOf } from '../json/strict-json.ts';
import { expiryOfMetadata } from './root-cache.ts';

/** TUF repository of sigstore's public good instance. */
export const publicGoodTufUrl = 'https://tuf-repo-cdn.sigstore.dev';

/** TUF repository of the instance that sigstore's clients are tested against. */
export const stagingTufUrl = 'https://tuf-repo-cdn.sigstage.dev';

/** The seed of a TUF repository that ships with this version, so that trust can begin without the network. */
export interface SigstoreSeed {
  readonly name: 'public-good' | 'staging';
  readonly url: string;
  /** Version of the TUF root. */
  readonly version: number;
  /**
   * Expiry of the TUF root, in milliseconds since 1970. An update can start from an expired root (TUF
   * specification, section 5.3.10).
   */
  readonly expires: number;
}

/**
 * Returns the `trusted_root.json` that ships with this version. It needs no network until {@link
 * embeddedTrustedRootExpires}.
 */
export function embeddedTrustedRoot(): Buffer {
  return Buffer.from(seeds[publicGoodTufUrl].targets['trusted_root.json'], 'base64');
}

/**
 * Returns until when the embedded trusted root decides, in milliseconds since 1970: the expiry of the TUF
 * root that it came with. It has no timestamp of its own. After this time, nothing confirms that its
 * authorities and logs are still the ones to trust.
 */
export function embeddedTrustedRootExpires(): number {
  return expiryOfMetadata(publicGoodRoot()) ?? 0;
}

/**
 * Returns the TUF root that ships with this version for a repository, by which later roots are verified;
 * undefined for repositories that are not sigstore's own.
 */
export async function embeddedTufRoot(url: string): Promise<Buffer | undefined> {
  if (url === publicGoodTufUrl) return publicGoodRoot();
  if (url !== stagingTufUrl) return undefined;
  // The package has no seed of this instance.
  const { default: stagingRoot } = await import('./roots/staging.tuf-root.json', { with: { type: 'json' } });
  return Buffer.from(JSON.stringify(stagingRoot));
}

/** Returns every seed of this version, for `portcullis doctor`. */
export async function sigstoreSeeds(): Promise<readonly SigstoreSeed[]> {
  return Promise.all(
    (
      [
        ['public-good', publicGoodTufUrl],
        ['staging', stagingTufUrl],
      ] as const
    ).map(async ([name, url]) => {
      const root = (await embeddedTufRoot(url)) ?? Buffer.alloc(0);
      const version = recordOf(recordOf(parseJson(root.toString('utf8')))?.['signed'])?.['version'];
      return {
        name,
        url,
        version: typeof version === 'number' ? version : 0,
        expires: expiryOfMetadata(root) ?? 0,
      };
    }),
  );
}

function publicGoodRoot(): Buffer {
  return Buffer.from(seeds[publicGoodTufUrl]['root.json'], 'base64');
}
