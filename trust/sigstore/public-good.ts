import tufRoot from './roots/public-good.tuf-root.json' with { type: 'json' };
import trustedRoot from './roots/public-good.trusted-root.json' with { type: 'json' };

/** TUF repository of sigstore's public good instance. */
export const publicGoodTufUrl = 'https://tuf-repo-cdn.sigstore.dev';

/** TUF repository of the instance that sigstore's clients are tested against. */
export const stagingTufUrl = 'https://tuf-repo-cdn.sigstage.dev';

/** The `trusted_root.json` that ships with this version: works without any network. */
export function embeddedTrustedRoot(): Buffer {
  return Buffer.from(JSON.stringify(trustedRoot));
}

/** The TUF root that ships with this version for a repository, by which later ones are verified; undefined for others than sigstore's own. */
export async function embeddedTufRoot(url: string): Promise<Buffer | undefined> {
  if (url === publicGoodTufUrl) return Buffer.from(JSON.stringify(tufRoot));
  if (url !== stagingTufUrl) return undefined;
  const { default: stagingRoot } = await import('./roots/staging.tuf-root.json', { with: { type: 'json' } });
  return Buffer.from(JSON.stringify(stagingRoot));
}
