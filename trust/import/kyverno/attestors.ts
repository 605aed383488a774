import { append } from '../../../base/lists/index.ts';
import { mentionsPrivateKey, readPem, writePem } from '../../../base/pem/index.ts';
import type { PathSegment } from '../../../base/schema/index.ts';
import { predicateTypeOf } from '../../attestation/predicate-types.ts';
import { recordOf, textsOf } from '../../json/strict-json.ts';
import { literalOfExpression, patternOfExpression } from '../mapping/pattern-of-expression.ts';
import { allOf, keepFile, keepKeys, listOf, reportUnmapped, textOf } from '../mapping/source-documents.ts';
import type { Importing, KeysInUse } from '../mapping/source-documents.ts';

type Json = Readonly<Record<string, unknown>>;
type Path = readonly PathSegment[];
type Signature = 'Cosign' | 'SigstoreBundle' | 'Notary';

const publicLog = 'https://rekor.sigstore.dev';
const denied = 'the images are denied';

/**
 * Converts the attestors of one verifyImages entry, which must have signed the image, also when the entry has
 * attestations (verifyImage in Kyverno's imageverifier.go). Returns undefined when a part has no counterpart,
 * which is then listed.
 */
export function attestorsOf(
  verify: Json,
  path: Path,
  name: string,
  importing: Importing,
): readonly Json[] | undefined {
  const annotations = textsOf(verify['annotations']);
  return setsOf(verify['attestors'], [...path, 'attestors'], {
    type: typeOf(verify),
    name,
    annotations,
    keysInUse: 'all',
    importing,
  });
}

/** Converts the attestations of an entry. Each is required, with its own attestors or those of the entry. */
export function attestationsOf(
  verify: Json,
  path: Path,
  name: string,
  importing: Importing,
): readonly Json[] | undefined {
  const demands: Json[] = [];
  for (const [index, each] of listOf(verify['attestations']).entries()) {
    const attestation = recordOf(each) ?? {};
    const at = [...path, 'attestations', index];
    if (listOf(attestation['conditions']).length > 0 || attestation['validate'] !== undefined)
      return report(
        importing,
        [...at, 'conditions'],
        'conditions have no counterpart; write them as CEL expressions of the attestation',
      );
    const type = predicateTypeOf(textOf(attestation['type']) ?? textOf(attestation['predicateType']) ?? '');
    if (type === undefined || typeOf(verify) === 'Notary')
      return report(importing, at, 'it is not an in-toto attestation with a known predicate type');
    const own = listOf(attestation['attestors']).length > 0;
    const context = { type: typeOf(verify), name, annotations: {}, importing };
    // Kyverno makes an entry of each key only where it verifies signatures (verifyAttestorSet).
    const sets = own
      ? setsOf(attestation['attestors'], [...at, 'attestors'], { ...context, keysInUse: 'first' })
      : setsOf(verify['attestors'], [...path, 'attestors'], { ...context, keysInUse: 'all' });
    if (sets === undefined) return undefined;
    if (sets.length === 0) return report(importing, at, 'no required signer is named');
    append(
      demands,
      sets.map((set) => attestedBy(set, type)),
    );
  }
  return demands;
}

/** Returns the same tree with each signer required to have signed an attestation. */
export function attestedBy(requirement: Json, type: string): Json {
  for (const word of ['all', 'any'] as const)
    if (Array.isArray(requirement[word]))
      return { [word]: (requirement[word] as readonly Json[]).map((one) => attestedBy(one, type)) };
  const threshold = recordOf(requirement['threshold']);
  if (threshold !== undefined)
    return {
      threshold: {
        ...threshold,
        of: (threshold['of'] as readonly Json[]).map((one) => attestedBy(one, type)),
      },
    };
  return { attestation: { type, by: requirement } };
}

interface Context {
  readonly type: Signature | undefined;
  readonly name: string;
  readonly annotations: Readonly<Record<string, string>>;
  readonly keysInUse: KeysInUse;
  readonly importing: Importing;
}

function typeOf({ type }: Json): Signature | undefined {
  if (type === undefined) return 'Cosign';
  return (['Cosign', 'SigstoreBundle', 'Notary'] as const).find((known) => known === type);
}

/**
 * Converts sets of attestors. Every set must be satisfied: with all its entries, or with as many as `count`
 * says.
 */
function setsOf(value: unknown, path: Path, context: Context): readonly Json[] | undefined {
  const sets: Json[] = [];
  for (const [index, each] of listOf(value).entries()) {
    const set = recordOf(each) ?? {};
    const at = [...path, index];
    const entries: Json[] = [];
    for (const [number, entry] of listOf(set['entries']).entries()) {
      const found = entryOf(recordOf(entry) ?? {}, [...at, 'entries', number], context);
      if (found === undefined) return undefined;
      append(entries, found);
    }
    const demand = counted(set['count'], entries);
    if (demand === undefined) return report(context.importing, at, 'its count does not match its entries');
    sets.push(demand);
  }
  return sets;
}

function counted(count: unknown, entries: readonly Json[]): Json | undefined {
  if (count === undefined) return allOf(entries);
  if (!Number.isInteger(count) || Number(count) < 1 || Number(count) > entries.length) return undefined;
  return entries.length === 1 ? entries[0] : { threshold: { count, of: entries } };
}

/** Converts the signers of one entry. There are several when the entry has several keys. */
function entryOf(entry: Json, path: Path, context: Context): readonly Json[] | undefined {
  const { importing, type } = context;
  const { keys, keyless, certificates, attestor, annotations, ...others } = entry;
  const [other] = Object.keys(others);
  if (other !== undefined) return report(importing, [...path, other], `\`${other}\` has no counterpart`);
  if (type === undefined) return report(importing, path, 'the type of signature is not known');
  const wanted = { ...context.annotations, ...textsOf(annotations) };
  if (Object.values(wanted).some((value) => value.includes('*')))
    return report(importing, path, 'an annotation with a literal * has no counterpart');
  const signed = Object.keys(wanted).length === 0 ? {} : { annotations: wanted };
  if (recordOf(attestor) !== undefined) return setsOf([attestor], [...path, 'attestor'], context);
  if (type === 'Notary') return notaryOf(recordOf(certificates), path, context, signed);
  if (recordOf(keys) !== undefined) return keysOf(recordOf(keys) ?? {}, [...path, 'keys'], context, signed);
  if (recordOf(keyless) !== undefined)
    return keylessOf(recordOf(keyless) ?? {}, [...path, 'keyless'], context, signed);
  return report(importing, path, 'a certificate as signer has no counterpart for cosign’s signatures');
}

export function keysOf(
  keys: Json,
  path: Path,
  { importing, name, keysInUse }: Context,
  signed: Json,
): readonly Json[] | undefined {
  const { publicKeys, rekor, ctlog: _ctlog, signatureAlgorithm, ...others } = keys;
  const [other] = Object.keys(others);
  if (other !== undefined)
    return report(
      importing,
      [...path, other],
      'a key in a secret or a KMS is not read: export it with `cosign public-key`',
    );
  if (signatureAlgorithm !== undefined && signatureAlgorithm !== 'sha256')
    return report(importing, [...path, 'signatureAlgorithm'], 'only sha256 has a counterpart');
  const log = logOf(rekor);
  if (log === undefined)
    return report(
      importing,
      [...path, 'rekor'],
      'a log other than the public one has no counterpart: name a trusted_root.json in the rule',
    );
  const kept = keepKeys(importing, textOf(publicKeys) ?? '', name, keysInUse);
  if ('problem' in kept) return report(importing, [...path, 'publicKeys'], kept.problem);
  return kept.names.map((key) => ({ cosign: { key, ...(log ? { log: true } : {}), ...signed } }));
}

export function keylessOf(
  keyless: Json,
  path: Path,
  { importing }: Context,
  signed: Json,
): readonly Json[] | undefined {
  const { issuer, issuerRegExp, subject, subjectRegExp, rekor, ctlog, ...others } = keyless;
  const [other] = Object.keys(others);
  if (other !== undefined) return report(importing, [...path, other], `\`${other}\` has no counterpart`);
  if (logOf(rekor) === undefined)
    return report(
      importing,
      [...path, 'rekor'],
      'a log other than the public one has no counterpart: name a trusted_root.json in the rule',
    );
  const certificates = recordOf(ctlog) ?? {};
  if (certificates['pubkey'] !== undefined || certificates['tsaCertChain'] !== undefined)
    return report(
      importing,
      [...path, 'ctlog'],
      'a certificate log other than the public ones has no counterpart',
    );
  // Kyverno compares with the expression too, and the issuer alone would admit more.
  const from =
    issuer !== undefined && issuerRegExp !== undefined
      ? undefined
      : (textOf(issuer) ?? literalOfExpression(textOf(issuerRegExp) ?? '.*'));
  if (from === undefined || from.includes('*'))
    return report(
      importing,
      [...path, 'issuer'],
      'an issuer is compared exactly, and this one is missing, matches several or is given twice',
    );
  const who = subjectOf(textOf(subject), textOf(subjectRegExp));
  if (who === undefined)
    return report(
      importing,
      [...path, 'subject'],
      'it names no particular signer, or no pattern matches exactly these signers',
    );
  const unlogged = certificates['ignoreSCT'] === true ? { certificateLog: false } : {};
  return [{ sigstore: { issuer: from, subject: who, ...unlogged, ...signed } }];
}

/** Converts a subject: in Kyverno `*` matches any characters including slashes, which is `**` here. */
function subjectOf(text: string | undefined, expression: string | undefined): string | undefined {
  if ((text === undefined) === (expression === undefined)) return undefined;
  if (text?.includes('?') === true) return undefined;
  const found =
    text === undefined ? patternOfExpression(expression ?? '') : { pattern: text.replaceAll(/\*+/g, '**') };
  return 'problem' in found || /^\**$/.test(found.pattern) ? undefined : found.pattern;
}

/**
 * Whether the public log is required, which is Kyverno's default. Returns undefined when a different log is
 * required.
 */
function logOf(rekor: unknown): boolean | undefined {
  const record = recordOf(rekor) ?? {};
  if (record['ignoreTlog'] === true) return false;
  if (record['pubkey'] !== undefined && record['pubkey'] !== '') return undefined;
  const url = textOf(record['url']);
  return url === undefined || url.replace(/\/$/, '') === publicLog ? true : undefined;
}

/**
 * Converts Notary Project signatures: the certificate is the trust store, every identity under it may sign,
 * and the level is strict.
 */
export function notaryOf(
  certificates: Json | undefined,
  path: Path,
  { importing, name }: Context,
  signed: Json,
): readonly Json[] | undefined {
  const certificate = textOf(certificates?.['cert']);
  const { blocks, damaged } = readPem(certificate ?? '');
  if (damaged || !blocks.some(({ type }) => type === 'CERTIFICATE'))
    return report(importing, path, 'Notary signatures require a certificate in the policy itself');
  if (certificates?.['certChain'] !== undefined || certificates?.['rekor'] !== undefined)
    return report(importing, path, 'only `cert` has a counterpart');
  if (mentionsPrivateKey(certificate ?? ''))
    return report(importing, path, 'the certificate contains a private key; a policy names certificates');
  const pem = blocks.map(({ type, content }) => writePem(type, content)).join('');
  const file = keepFile(
    importing,
    `certificates/${name.replace(/[^A-Za-z0-9._-]+/g, '-')}.crt`,
    Buffer.from(pem),
  );
  return [{ notation: { certificates: { ca: [file] }, ...signed } }];
}

function report(importing: Importing, path: Path, why: string): undefined {
  reportUnmapped(importing, path, why, denied);
  return undefined;
}
