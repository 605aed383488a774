import { readFile } from 'node:fs/promises';
import { embeddedTrustedRoot, publicGoodTufUrl, stagingTufUrl } from './public-good.ts';
import { cachedRootFile, defaultRootCache } from './root-cache.ts';
import { updateTrustedRoot } from './update-root.ts';

/** Sigstore's own instances. */
export type SigstoreInstance = 'public-good' | 'staging';

/**
 * The trusted root of an instance: as it was last updated on this machine, else as this version ships it. Of staging none is shipped:
 * it is fetched.
 * @throws PortcullisError `TRUST_ROOT_UPDATE_FAILED`
 */
export async function trustedRootOfInstance(instance: SigstoreInstance): Promise<Buffer> {
  const url = instance === 'staging' ? stagingTufUrl : publicGoodTufUrl;
  const cached = await readFile(cachedRootFile(defaultRootCache, url)).catch(() => undefined);
  if (cached !== undefined) return cached;
  return instance === 'staging' ? readFile((await updateTrustedRoot({ url })).file) : embeddedTrustedRoot();
}

/** The services that an instance signs with, as a `signing_config.json`. */
export function signingConfigOfInstance(instance: SigstoreInstance): Buffer {
  const domain = instance === 'staging' ? 'sigstage.dev' : 'sigstore.dev';
  const service = (host: string, path = ''): readonly object[] => [
    { url: `https://${host}.${domain}${path}`, majorApiVersion: 1, validFor: { start: '2022-04-13T20:06:15Z' }, operator: 'sigstore.dev' },
  ];
  return Buffer.from(
    JSON.stringify({
      mediaType: 'application/vnd.dev.sigstore.signingconfig.v0.2+json',
      caUrls: service('fulcio'),
      rekorTlogUrls: service('rekor'),
      rekorTlogConfig: { selector: 'ANY' },
      tsaUrls: service('timestamp', '/api/v1/timestamp'),
      tsaConfig: { selector: 'ANY' },
    }),
  );
}
