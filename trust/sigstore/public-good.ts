import tufRoot from './roots/public-good.tuf-root.json' with { type: 'json' };
import trustedRoot from './roots/public-good.trusted-root.json' with { type: 'json' };

/** TUF repository of sigstore's public good instance. */
export const publicGoodTufUrl = 'https://tuf-repo-cdn.sigstore.dev';

/** The `trusted_root.json` that ships with this version: works without any network. */
export function embeddedTrustedRoot(): Buffer {
  return Buffer.from(JSON.stringify(trustedRoot));
}

/** The TUF root that ships with this version; later ones are verified by it. */
export function embeddedTufRoot(): Buffer {
  return Buffer.from(JSON.stringify(tufRoot));
}
