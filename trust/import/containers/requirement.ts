import { fileReason } from '../../../base/errors/index.ts';
import { readPemCertificates } from '../../pki/authorities.ts';
import { parsePublicKey } from '../../keys/public-key.ts';
import { readKeyRing } from '../../gpg/key-ring.ts';
import { defaultLookaside, parseLookaside } from '../../gpg/lookaside.ts';
import { isKeyText } from '../../requirements/key-text.ts';
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
  if ('problem' in store) {
    return unmapped(`the lookaside ${withoutSecrets(lookaside)} cannot be used: ${store.problem}`);
  }
  const keys = await collect(requirement.keys, files);
  if (keys.length === 0) return unmapped('it names no keys, so no signature is accepted');
  for (const { place, content } of keys) checked(`keys ${place}`, () => readKeyRing(content));
  const names = keys.map((key) => nameOf(key, '.gpg', files));
  return {
    kind: 'require',
    value: { gpg: { keys: names, lookaside: store.url, ...constraints(requirement.signedIdentity) } },
  };
}

/**
 * Returns an address without what may be a secret in it. A password may contain any character that should be
 * encoded, and URL parsers also accept one slash or none, so everything before the last `@` is left out.
 */
function withoutSecrets(address: string): string {
  return address.replace(/^([a-z][a-z0-9+.-]*:).*@/isu, '$1//…@').replace(/[?#].*$/su, '?…');
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
  const rekorKeys = rekor === undefined ? undefined : contentsOf(await collect(rekor, files));
  if (fulcio !== undefined) {
    if (fulcio.subjectEmail.includes('*'))
      return unmapped(`the subject ${fulcio.subjectEmail} would be read as a pattern`);
    const authorities = contentsOf(await collect(fulcio.ca, files));
    const root = files.keep(makeTrustedRoot(rekorKeys ?? [], authorities), '.trusted-root.json');
    const identity = { issuer: fulcio.oidcIssuer, subject: fulcio.subjectEmail };
    return {
      kind: 'require',
      value: { sigstore: { ...identity, root, log: 1, certificateLog: 0, ...constraints(signedIdentity) } },
    };
  }
  if (keys === undefined) return unmapped('it names no signer');
  const read = await collect(keys, files);
  for (const { place, content } of read) {
    const key = parsePublicKey('', content.toString('utf8'));
    if ('problem' in key) return unmapped(`the key ${place} cannot be used: ${key.problem}`);
  }
  const log =
    rekorKeys === undefined
      ? {}
      : { log: { root: files.keep(makeTrustedRoot(rekorKeys, []), '.trusted-root.json') } };
  const authorities = read
    .map((key) => nameOf(key, '.pub', files))
    .map((key) => ({ cosign: { key, ...log, ...constraints(signedIdentity) } }));
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
    const [certificates] = await collect(material, files);
    if (certificates === undefined) return {};
    const { place, content } = certificates;
    checked(`certificates ${place}`, () => readPemCertificates('', content));
    return { [field]: nameOf(certificates, '.pem', files) };
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

/** A key or certificate, as the source names or contains it. */
interface Collected {
  /** The absolute path of its file; undefined if the source contains it. */
  readonly file?: string;
  /** Where it is, for messages. */
  readonly place: string;
  readonly content: Buffer;
}

/** Reads keys or certificates. Keeps none of them: whether one is secret is not known yet. */
async function collect(material: Material, files: ImportFiles): Promise<readonly Collected[]> {
  if ('contents' in material)
    return material.contents.map((content, index) => ({
      place: `in ${material.field}${material.contents.length > 1 ? `[${index}]` : ''}`,
      content: Buffer.from(content, 'base64'),
    }));
  return Promise.all(
    material.paths.map(async (path) => {
      if (isKeyText(path))
        throw new Error('a path in it is the text of a key or certificate, not the name of its file');
      const file = files.absolute(path);
      try {
        return { file, place: `of ${path}`, content: await files.read(path) };
      } catch (error) {
        throw new Error(`${path} cannot be read: ${fileReason(error, file)}`, { cause: error });
      }
    }),
  );
}

const contentsOf = (collected: readonly Collected[]): readonly Buffer[] =>
  collected.map(({ content }) => content);

/** Returns the name by which rules refer to a checked key or certificate. */
function nameOf({ file, content }: Collected, suffix: string, files: ImportFiles): string {
  return file ?? files.keep(content, suffix);
}

function checked(what: string, read: () => unknown): void {
  try {
    read();
  } catch (error) {
    throw new Error(`the ${what} cannot be used: ${(error as Error).message}`, { cause: error });
  }
}
