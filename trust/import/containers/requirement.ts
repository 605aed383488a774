import { readPemCertificates } from '../../pki/authorities.ts';
import { parsePublicKey } from '../../keys/public-key.ts';
import { readKeyRing } from '../../gpg/key-ring.ts';
import { defaultLookaside, parseLookaside } from '../../gpg/lookaside.ts';
import type { SignedIdentity } from '../../requirements/signed-identity.ts';
import type { ContainersRequirement, Material, SigstoreSigned } from './policy-json.ts';
import { makeTrustedRoot } from './trusted-root.ts';

/** Files that the imported rules refer to, and files that the source names. */
export interface ImportFiles {
  /** Reads a file that the source names. Rejects when the file cannot be read. */
  read(path: string): Promise<Buffer>;
  /** Returns the absolute path by which rules refer to the file. */
  absolute(path: string): string;
  /** Keeps content as a file beside the policy and returns the name of the file. */
  keep(content: Buffer, suffix: string): string;
}

/**
 * Our requirement as plain values of a policy file; or that nothing needs to be proven; or why nothing can be
 * proven.
 */
export type Mapped =
  | { readonly kind: 'require'; readonly value: Readonly<Record<string, unknown>> }
  | { readonly kind: 'anything' }
  | { readonly kind: 'denied' }
  | { readonly kind: 'unmapped'; readonly why: string };

/** The settings of registries.d for the given images. */
export interface SignaturePlaces {
  readonly lookaside: string | undefined;
  /** undefined: no registries.d was given. */
  readonly attachments: boolean | undefined;
}

/**
 * Converts one requirement of a policy.json. Reads the files that it names now, because the image library
 * denies when a key is missing.
 */
export async function mapRequirement(
  requirement: ContainersRequirement,
  places: SignaturePlaces,
  files: ImportFiles,
): Promise<Mapped> {
  try {
    switch (requirement.type) {
      case 'insecureAcceptAnything':
        return { kind: 'anything' };
      case 'reject':
        return { kind: 'denied' };
      case 'signedBaseLayer':
        return unmapped('signedBaseLayer is not implemented by the image library either, which denies');
      case 'signedBy':
        return await mapSignedBy(requirement, places, files);
      case 'sigstoreSigned':
        return await mapSigstoreSigned(requirement, places, files);
    }
  } catch (error) {
    return unmapped((error as Error).message);
  }
}

function unmapped(why: string): Mapped {
  return { kind: 'unmapped', why };
}

/**
 * Returns our constraints for the library's behaviour: it judges only the platform's manifest, and the name
 * in a signature always counts.
 */
function constraints(signedIdentity: SignedIdentity): Readonly<Record<string, unknown>> {
  return { signs: 'manifest', signedIdentity };
}

async function mapSignedBy(
  requirement: ContainersRequirement & { readonly type: 'signedBy' },
  { lookaside = defaultLookaside }: SignaturePlaces,
  files: ImportFiles,
): Promise<Mapped> {
  if (requirement.keyType !== 'GPGKeys')
    return unmapped(
      `keyType ${requirement.keyType} is not implemented by the image library either, which denies`,
    );
  // There, a plain path is not a URL, and fails.
  const store = /^[a-z][a-z0-9+.-]*:/i.test(lookaside)
    ? parseLookaside(lookaside, '/')
    : { problem: 'it is not a URL' };
  if ('problem' in store) return unmapped(`the lookaside ${lookaside} cannot be used: ${store.problem}`);
  const { names, contents } = await collect(requirement.keys, '.gpg', files);
  if (names.length === 0) return unmapped('it names no keys, so no signature is accepted');
  for (const [index, content] of contents.entries()) checked(names[index], () => readKeyRing(content));
  return {
    kind: 'require',
    value: { gpg: { keys: names, lookaside: store.url, ...constraints(requirement.signedIdentity) } },
  };
}

async function mapSigstoreSigned(
  requirement: SigstoreSigned,
  { attachments }: SignaturePlaces,
  files: ImportFiles,
): Promise<Mapped> {
  if (attachments === false)
    return unmapped(
      'registries.d does not say use-sigstore-attachments: true for it, so no signature is read',
    );
  const { keys, fulcio, rekor, pki, signedIdentity } = requirement;
  if (pki !== undefined) return mapPki(pki, signedIdentity, files);
  const rekorKeys = rekor === undefined ? undefined : (await collect(rekor, '.pub', files)).contents;
  if (fulcio !== undefined) {
    if (fulcio.subjectEmail.includes('*'))
      return unmapped(`the subject ${fulcio.subjectEmail} would be read as a pattern`);
    const ca = await collect(fulcio.ca, '.pem', files);
    const root = files.keep(makeTrustedRoot(rekorKeys ?? [], ca.contents), '.trusted-root.json');
    const identity = { issuer: fulcio.oidcIssuer, subject: fulcio.subjectEmail };
    return {
      kind: 'require',
      value: { sigstore: { ...identity, root, log: 1, certificateLog: 0, ...constraints(signedIdentity) } },
    };
  }
  if (keys === undefined) return unmapped('it names no signer');
  const { names, contents } = await collect(keys, '.pub', files);
  for (const [index, content] of contents.entries()) {
    const key = parsePublicKey(names[index] ?? '', content.toString('utf8'));
    if ('problem' in key) return unmapped(`the key ${names[index] ?? ''} cannot be used: ${key.problem}`);
  }
  const log =
    rekorKeys === undefined
      ? {}
      : { log: { root: files.keep(makeTrustedRoot(rekorKeys, []), '.trusted-root.json') } };
  const authorities = names.map((key) => ({ cosign: { key, ...log, ...constraints(signedIdentity) } }));
  const [only] = authorities;
  return {
    kind: 'require',
    value: authorities.length === 1 && only !== undefined ? only : { any: authorities },
  };
}

async function mapPki(
  pki: NonNullable<SigstoreSigned['pki']>,
  signedIdentity: SignedIdentity,
  files: ImportFiles,
): Promise<Mapped> {
  const { subjectEmail, subjectHostname } = pki;
  const named = [subjectEmail, subjectHostname].find((name) => name?.includes('*') === true);
  if (named !== undefined)
    return unmapped(`no certificate can be issued to ${named}: the name of a signer contains no *`);
  const part = async (
    field: string,
    material: Material | undefined,
  ): Promise<Readonly<Record<string, string>>> => {
    if (material === undefined) return {};
    const { names, contents } = await collect(material, '.pem', files);
    for (const [index, content] of contents.entries())
      checked(names[index], () => readPemCertificates(names[index] ?? '', content), 'certificates');
    return names[0] === undefined ? {} : { [field]: names[0] };
  };
  return {
    kind: 'require',
    value: {
      pki: {
        ...(await part('roots', pki.roots)),
        ...(await part('intermediates', pki.intermediates)),
        ...(subjectEmail === undefined ? {} : { email: subjectEmail }),
        ...(subjectHostname === undefined ? {} : { hostname: subjectHostname }),
        ...constraints(signedIdentity),
      },
    },
  };
}

/** Returns the contents, and the names by which rules can refer to them. */
async function collect(
  material: Material,
  suffix: string,
  files: ImportFiles,
): Promise<{ readonly names: readonly string[]; readonly contents: readonly Buffer[] }> {
  if ('contents' in material) {
    const contents = material.contents.map((content) => Buffer.from(content, 'base64'));
    return { names: contents.map((content) => files.keep(content, suffix)), contents };
  }
  const contents = await Promise.all(
    material.paths.map(async (path) => {
      try {
        return await files.read(path);
      } catch (error) {
        const why =
          (error as NodeJS.ErrnoException).code === 'ENOENT'
            ? 'there is no such file'
            : (error as Error).message;
        throw new Error(`${path} cannot be read: ${why}`, { cause: error });
      }
    }),
  );
  return { names: material.paths.map((path) => files.absolute(path)), contents };
}

function checked(name: string | undefined, read: () => unknown, what = 'keys'): void {
  try {
    read();
  } catch (error) {
    throw new Error(`the ${what} of ${name ?? ''} cannot be used: ${(error as Error).message}`, {
      cause: error,
    });
  }
}
