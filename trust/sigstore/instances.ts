import { readFile } from 'node:fs/promises';
import { cachedRootFile, defaultRootCache } from './root-cache.ts';
import { embeddedTrustedRoot, embeddedTrustedRootExpires, publicGoodTufUrl, stagingTufUrl } from './seeds.ts';
import { signingConfiguration } from './signing-configuration.ts';
import { updateTrustedRoot } from './update-root.ts';

/** Sigstore's own instances. */
export type SigstoreInstance = 'public-good' | 'staging';

/**
 * Returns the trusted root of an instance: the latest update on this machine; else the one that ships with
 * this version, until it expires; else the current one of its repository. No root of staging ships.
 * @throws PortcullisError `TRUST_ROOT_UPDATE_FAILED` · `TRUST_ROOT_REFUSED`
 */
export async function trustedRootOfInstance(
  instance: SigstoreInstance,
  now: Date,
  cache = defaultRootCache,
): Promise<Buffer> {
  const url = urlOf(instance);
  const cached = await readFile(cachedRootFile(cache, url)).catch(() => undefined);
  if (cached !== undefined) return cached;
  if (instance === 'public-good' && now.getTime() < embeddedTrustedRootExpires())
    return embeddedTrustedRoot();
  return readFile((await updateTrustedRoot({ url, cache, now })).file);
}

/**
 * Returns the services that an instance signs with, as a `signing_config.json`.
 * @throws PortcullisError `TRUST_SIGNING_CONFIG`
 */
export function signingConfigOfInstance(instance: SigstoreInstance, now: Date): Promise<Buffer> {
  return signingConfiguration({ url: urlOf(instance), now });
}

function urlOf(instance: SigstoreInstance): string {
  return instance === 'staging' ? stagingTufUrl : publicGoodTufUrl;
}
