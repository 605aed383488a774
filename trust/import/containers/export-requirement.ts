import { writePem } from '../../../base/pem/index.ts';
import { canonicalJson } from '../../json/canonical-json.ts';
import type { SignedIdentity } from '../../requirements/signed-identity.ts';
import { trustedRootOf } from '../../sigstore/policy-root.ts';
import type { PolicyCertificates, Requirement, SigstoreProof } from '../../requirements/types.ts';
import type { Constraints } from '../../requirements/constraint-set.ts';

/**
 * Requirements of a policy.json that are at least as strict as ours, and where their signatures are; or the
 * reason why there are none.
 */
export type ExportedRequirement =
  | {
      readonly list: readonly Readonly<Record<string, unknown>>[];
      readonly lookasides: readonly string[];
      readonly attachments: boolean;
    }
  | { readonly why: string };

type Only<K extends Requirement['kind']> = Extract<Requirement, { readonly kind: K }>;

/**
 * Converts a requirement to the terms of containers-policy.json(5). There, the name in a signature always
 * counts, and for an index only the platform's manifest. Where our policy requires neither, the exported one
 * is stricter.
 */
export function exportRequirement(requirement: Requirement): ExportedRequirement {
  try {
    return combine(requirement);
  } catch (error) {
    return { why: (error as Error).message };
  }
}

function combine(requirement: Requirement): ExportedRequirement {
  switch (requirement.kind) {
    case 'gpg':
    case 'cosign-key':
    case 'sigstore':
    case 'pki':
      return exportAny([requirement]);
    case 'all':
      return exportAll(requirement.of);
    case 'any':
      return exportAny(requirement.of);
    case 'threshold':
      // Keys differ in a threshold. Other parts may have one signer, who counts once here and twice there.
      if (
        requirement.count === requirement.of.length &&
        requirement.of.every(({ kind }) => kind === 'cosign-key')
      )
        return exportAll(requirement.of);
      if (requirement.count === 1) return exportAny(requirement.of);
      return { why: 'it cannot count signers' };
    default:
      return { why: `it has no counterpart of ${requirement.kind}` };
  }
}

function exportAll(of: readonly Requirement[]): ExportedRequirement {
  const parts = of.map(combine);
  const wrong = parts.find((part) => 'why' in part);
  if (wrong !== undefined) return wrong;
  const whole = parts.flatMap((part) => ('list' in part ? [part] : []));
  return {
    list: whole.flatMap(({ list }) => list),
    lookasides: [...new Set(whole.flatMap(({ lookasides }) => lookasides))],
    attachments: whole.some(({ attachments }) => attachments),
  };
}

/**
 * Converts alternatives, which are several keys of one requirement there: all their other settings must be
 * equal.
 */
function exportAny(of: readonly Requirement[]): ExportedRequirement {
  const gpg = of.filter((one): one is Only<'gpg'> => one.kind === 'gpg');
  const keys = of.filter((one): one is Only<'cosign-key'> => one.kind === 'cosign-key');
  const [one] = of;
  if (one?.kind === 'sigstore' && of.length === 1) return exportKeyless(one);
  if (one?.kind === 'pki' && of.length === 1) return exportPki(one);
  if (gpg.length === of.length) return exportGpg(gpg);
  if (keys.length === of.length) return exportKeys(keys);
  return of.length === 1 && one !== undefined
    ? combine(one)
    : { why: 'it supports alternatives only between keys of one kind' };
}

function exportGpg(of: readonly Only<'gpg'>[]): ExportedRequirement {
  const signedIdentity = sameIdentity(
    of.map(({ constraints }) => constraints),
    { type: 'matchRepoDigestOrExact' },
  );
  const lookasides = [...new Set(of.map(({ lookaside }) => lookaside))];
  if (lookasides.length > 1) throw new Error('it supports only one lookaside for an image');
  const keyPaths = [...new Set(of.flatMap(({ keyFiles }) => keyFiles))];
  return {
    list: [{ type: 'signedBy', keyType: 'GPGKeys', keyPaths, signedIdentity }],
    lookasides,
    attachments: false,
  };
}

function exportKeys(of: readonly Only<'cosign-key'>[]): ExportedRequirement {
  const logs = new Set(of.map(({ log }) => canonicalJson(log ?? null)));
  if (logs.size > 1) throw new Error('it supports only one transparency log for alternatives');
  // cosign writes the repository without a tag into its signatures.
  const signedIdentity = sameIdentity(
    of.map(({ constraints }) => constraints),
    { type: 'matchRepository' },
  );
  const keyDatas = of.map(({ key }) => pemOf(Buffer.from(key.spki, 'base64')));
  const log = of[0]?.log;
  const rekor = log === undefined ? {} : { rekorPublicKeyDatas: rekorKeys(log) };
  return {
    list: [{ type: 'sigstoreSigned', keyDatas, ...rekor, signedIdentity }],
    lookasides: [],
    attachments: true,
  };
}

function exportKeyless({ identity, proof, constraints }: Only<'sigstore'>): ExportedRequirement {
  const { issuer, subject, claims } = identity;
  if (claims !== undefined) throw new Error('it does not support claims of a certificate');
  if (subject.includes('*') || !/^[^\s:/]+@[^\s:/]+$/.test(subject))
    throw new Error('it supports only signers with one e-mail address');
  if (proof.certificateLogs > 0)
    throw new Error(
      'it does not check certificate logs (write certificateLog: 0 if they are not required here either)',
    );
  const signedIdentity = sameIdentity([constraints], { type: 'matchRepository' });
  const anchors = trustedRootOf(proof.root).authorities.filter(
    ({ validFor }) => validFor.end === Number.POSITIVE_INFINITY,
  );
  const certificates = anchors
    .flatMap(({ chain }) => chain.slice(-1))
    .map(({ raw }) => writePem('CERTIFICATE', raw));
  if (certificates.length === 0)
    throw new Error('its trusted root names no certificate authority that is in use');
  const fulcio = {
    caData: Buffer.from(certificates.join('')).toString('base64'),
    oidcIssuer: issuer,
    subjectEmail: subject,
  };
  return {
    list: [{ type: 'sigstoreSigned', fulcio, rekorPublicKeyDatas: rekorKeys(proof), signedIdentity }],
    lookasides: [],
    attachments: true,
  };
}

function exportPki({ roots, intermediates, email, hostname, constraints }: Only<'pki'>): ExportedRequirement {
  const signedIdentity = sameIdentity([constraints], { type: 'matchRepository' });
  const data = ({ certificates }: PolicyCertificates): string =>
    Buffer.from(
      certificates.map((one) => writePem('CERTIFICATE', Buffer.from(one, 'base64'))).join(''),
    ).toString('base64');
  const pki = {
    caRootsData: data(roots),
    ...(intermediates === undefined ? {} : { caIntermediatesData: data(intermediates) }),
    ...(email === undefined ? {} : { subjectEmail: email }),
    ...(hostname === undefined ? {} : { subjectHostname: hostname }),
  };
  return { list: [{ type: 'sigstoreSigned', pki, signedIdentity }], lookasides: [], attachments: true };
}

/** Returns the keys of the current logs of the type that the library reads: base64 of PEM. */
function rekorKeys({ root, logs, timeStamps }: SigstoreProof): readonly string[] {
  if (logs !== 1) throw new Error('it checks exactly one transparency log');
  if (timeStamps > 0) throw new Error('it does not support time stamps');
  const keys = trustedRootOf(root).logs.filter(
    ({ key, validFor }) => key.asymmetricKeyType === 'ec' && validFor.end === Number.POSITIVE_INFINITY,
  );
  if (keys.length === 0) throw new Error('its trusted root names no transparency log that it can read');
  return keys.map(({ key }) => pemOf(key.export({ type: 'spki', format: 'der' })));
}

function sameIdentity(all: readonly (Constraints | undefined)[], unless: SignedIdentity): SignedIdentity {
  const identities = new Map<string, SignedIdentity>();
  for (const constraints of all) {
    const { signs, signedIdentity = unless, annotations, maxAge, notBefore } = constraints ?? {};
    if (signs === 'index')
      throw new Error("it verifies signatures of the platform's manifest, never of the index");
    if (annotations !== undefined) throw new Error('it does not support annotations');
    if (maxAge !== undefined || notBefore !== undefined)
      throw new Error('it does not support an age of signatures');
    identities.set(canonicalJson(signedIdentity), signedIdentity);
  }
  const [identity] = identities.values();
  if (identity === undefined || identities.size > 1)
    throw new Error('it supports only one signedIdentity for alternatives');
  return identity;
}

/** Returns base64 of the PEM of a key. */
const pemOf = (spki: Buffer): string => Buffer.from(writePem('PUBLIC KEY', spki)).toString('base64');
