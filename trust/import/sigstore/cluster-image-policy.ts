import type { PathSegment } from '../../../base/schema/index.ts';
import { predicateTypeOf } from '../../attestation/predicate-types.ts';
import { recordOf } from '../../json/strict-json.ts';
import type { ImportedPolicy } from '../mapping/imported.ts';
import { literalOfExpression, patternOfExpression } from '../mapping/pattern-of-expression.ts';
import {
  allOf,
  anyOf,
  importDocuments,
  keepKeys,
  listOf,
  nameOf,
  reportUnmapped,
  textOf,
} from '../mapping/source-documents.ts';
import type { Importing } from '../mapping/source-documents.ts';
import { patternsOfGlob } from './image-glob.ts';
import type { GlobPatterns } from './image-glob.ts';

type Json = Readonly<Record<string, unknown>>;
type Path = readonly PathSegment[];

const publicLog = 'https://rekor.sigstore.dev';
const publicCertificates = 'https://fulcio.sigstore.dev';

/**
 * Converts the ClusterImagePolicy documents of sigstore's policy-controller (policy.sigstore.dev, v1alpha1
 * and v1beta1) to rules: every policy that matches must pass, with any one of its authorities. An authority
 * with a part that has no counterpart is left out of the `any`. A policy without a remaining authority denies
 * its images.
 * @throws PortcullisError `TRUST_IMPORT_INVALID`
 */
export function importClusterImagePolicies(
  paths: readonly string[],
  standardInput?: Uint8Array,
): Promise<ImportedPolicy> {
  const what = 'ClusterImagePolicy of policy.sigstore.dev';
  return importDocuments(paths, isOurs, what, readPolicy, standardInput);
}

function isOurs(document: Json): boolean {
  return (
    document['kind'] === 'ClusterImagePolicy' &&
    textOf(document['apiVersion'])?.startsWith('policy.sigstore.dev/') === true
  );
}

function readPolicy(value: Json, base: Path, importing: Importing): void {
  const name = nameOf(value);
  const spec = recordOf(value['spec']) ?? {};
  const path = [...base, 'spec'];
  const globs = globsOf(spec, path, importing);
  const images = globs.flatMap(({ patterns }) => patterns);
  if (images.length === 0) return;
  const isExact = globs.every(({ exact }) => exact);
  if (spec['mode'] === 'warn' && !isExact)
    reportUnmapped(
      importing,
      [...path, 'mode'],
      'no patterns match exactly the images of the policy',
      'the rule is enforced, which is stricter',
    );
  const mode = spec['mode'] === 'warn' && isExact ? { mode: 'report' } : {};
  const comment = `ClusterImagePolicy ${name}`;
  const deny = (why: string): void =>
    void importing.rules.push({ comment, rule: { images, deny: why.slice(0, 500) } });
  const blocked = blockersOf(spec, path, importing);
  if (blocked !== undefined) return deny(blocked);
  const authorities = listOf(spec['authorities']).map((one) => recordOf(one) ?? {});
  if (authorities.some((one) => recordOf(one['static'])?.['action'] === 'pass')) {
    const passed = exactOf(globs, importing);
    if (passed.length > 0)
      importing.rules.push({
        comment: `${comment}: an authority accepts every image`,
        rule: { images: passed, allow: 'unverified' },
      });
    return;
  }
  const demands = authorities.flatMap((authority, index) => {
    const demand = authorityOf(
      authority,
      [...path, 'authorities', index],
      `${name}-${textOf(authority['name']) ?? index}`,
      importing,
    );
    return demand === undefined ? [] : [demand];
  });
  const require = anyOf(demands);
  if (require === undefined) {
    const message = messageOf(authorities);
    if (message === undefined) return deny(`no authority of ClusterImagePolicy ${name} has a counterpart`);
    importing.rules.push({
      comment,
      rule: { images, deny: message, ...(authorities.length === 1 ? mode : {}) },
    });
    return;
  }
  importing.rules.push({ comment, rule: { images, require, ...mode } });
}

interface Glob extends GlobPatterns {
  readonly glob: string;
  readonly path: Path;
}

/**
 * Returns the image patterns. A glob without a counterpart gets patterns that match everything that it might
 * match.
 */
function globsOf(spec: Json, path: Path, importing: Importing): readonly Glob[] {
  return listOf(spec['images']).flatMap((image, index): readonly Glob[] => {
    const glob = textOf(recordOf(image)?.['glob']) ?? '';
    const result = patternsOfGlob(glob);
    if ('patterns' in result) return [{ ...result, glob, path: [...path, 'images', index] }];
    const host = /^[a-z0-9.-]+\.[a-z0-9.-]+(?=\/)/.exec(glob)?.[0];
    const wide = host === undefined ? '**' : `${host}/**`;
    reportUnmapped(
      importing,
      [...path, 'images', index],
      `the glob "${glob}" has no pattern: ${result.problem}`,
      `the images of ${wide} are denied`,
    );
    importing.rules.push({
      comment: `the glob ${glob}`,
      rule: { images: [wide], deny: `the glob ${glob} was not mapped` },
    });
    return [];
  });
}

/** Returns the patterns of globs that match exactly the same images: others would admit more. */
function exactOf(globs: readonly Glob[], importing: Importing): readonly string[] {
  return globs.flatMap(({ glob, patterns, exact, path }) => {
    if (exact) return patterns;
    reportUnmapped(
      importing,
      path,
      `no pattern matches exactly the images of the glob "${glob}"`,
      'its images are not admitted',
    );
    return [];
  });
}

/** Returns the reason when a part that applies to the whole policy has no counterpart. */
function blockersOf(spec: Json, path: Path, importing: Importing): string | undefined {
  const became = 'its images are denied';
  const reported = importing.unmapped.length;
  if (spec['policy'] !== undefined)
    reportUnmapped(
      importing,
      [...path, 'policy'],
      'a CUE or Rego policy over all authorities has no counterpart; write it as a CEL expression of an attestation',
      became,
    );
  const match = listOf(spec['match']).map((one) => recordOf(one) ?? {});
  // Only pods are decided here. A policy that selects only some pods, or other resources, would apply
  // differently.
  if (match.length > 0 && !match.some((one) => one['resource'] === 'pods' && one['selector'] === undefined))
    reportUnmapped(
      importing,
      [...path, 'match'],
      'a selection of resources or labels has no counterpart: images are decided by name and namespace',
      became,
    );
  if (spec['mode'] !== undefined && spec['mode'] !== 'enforce' && spec['mode'] !== 'warn')
    reportUnmapped(
      importing,
      [...path, 'mode'],
      `${JSON.stringify(spec['mode'])} is not a known mode`,
      became,
    );
  return importing.unmapped.length === reported ? undefined : 'a part of the policy has no counterpart';
}

function messageOf(authorities: readonly Json[]): string | undefined {
  const fixed = authorities.map((one) => recordOf(one['static'])).find((one) => one?.['action'] === 'fail');
  return fixed === undefined ? undefined : (textOf(fixed['message']) ?? 'the policy has the action fail');
}

const knownFields = ['name', 'key', 'keyless', 'static', 'ctlog', 'attestations', 'signatureFormat'];

function authorityOf(authority: Json, path: Path, name: string, importing: Importing): Json | undefined {
  if (authority['static'] !== undefined) return undefined;
  const drop = (at: Path, why: string): undefined => {
    reportUnmapped(
      importing,
      [...path, ...at],
      why,
      'the authority is left out, so only the others can pass',
    );
    return undefined;
  };
  const other = Object.keys(authority).find((field) => !knownFields.includes(field));
  if (other === 'source') return drop([other], 'signatures outside the image’s repository are not searched');
  if (other === 'rfc3161timestamp')
    return drop(
      [other],
      'a TrustRoot of the cluster is not read: name a trusted_root.json in a sigstore rule',
    );
  if (other !== undefined) return drop([other], `\`${other}\` has no counterpart`);
  const log = logOf(authority);
  if (log === undefined)
    return drop(
      ['ctlog'],
      'a log other than the public one has no counterpart: name a trusted_root.json in the rule',
    );
  const by = signerOf(authority, path, name, log, importing, drop);
  if (by === undefined) return undefined;
  const attestations = listOf(authority['attestations']);
  return attestations.length === 0 ? by : attested(attestations, by, drop);
}

/** Returns `public`, `none` (ctlog: {}), or `unset`. */
function logOf({ ctlog }: Json): 'public' | 'none' | 'unset' | undefined {
  const record = recordOf(ctlog);
  if (record === undefined) return 'unset';
  if (record['trustRootRef'] !== undefined) return undefined;
  if (record['url'] === undefined) return 'none';
  return textOf(record['url'])?.replace(/\/$/, '') === publicLog ? 'public' : undefined;
}

type Drop = (at: Path, why: string) => undefined;

function signerOf(
  authority: Json,
  path: Path,
  name: string,
  log: string,
  importing: Importing,
  drop: Drop,
): Json | undefined {
  const key = recordOf(authority['key']);
  const keyless = recordOf(authority['keyless']);
  if (key !== undefined) {
    const data = textOf(key['data']);
    if (data === undefined)
      return drop(['key'], 'a key in a secret or a KMS is not read: export it with `cosign public-key`');
    if (key['hashAlgorithm'] !== undefined && key['hashAlgorithm'] !== 'sha256')
      return drop(['key', 'hashAlgorithm'], 'only sha256 has a counterpart');
    const kept = keepKeys(importing, data, name, 'first');
    if ('problem' in kept) return drop(['key', 'data'], kept.problem);
    return anyOf(
      kept.names.map((file) => ({ cosign: { key: file, ...(log === 'public' ? { log: true } : {}) } })),
    );
  }
  if (keyless === undefined) return drop([], 'it names neither a key nor an identity');
  const url = textOf(keyless['url']);
  if (
    keyless['ca-cert'] !== undefined ||
    keyless['trustRootRef'] !== undefined ||
    (url !== undefined && url.replace(/\/$/, '') !== publicCertificates)
  )
    return drop(
      ['keyless'],
      'a certificate authority other than the public one has no counterpart: name a trusted_root.json in the rule',
    );
  if (log === 'none')
    return drop(['ctlog'], 'a certificate without a log entry or time stamp does not prove when it was used');
  const identities = listOf(keyless['identities']).flatMap((one, index) => {
    const identity = identityOf(recordOf(one) ?? {});
    if (typeof identity !== 'string') return [identity];
    drop(['keyless', 'identities', index], identity);
    return [];
  });
  if (identities.length === 0)
    return drop(['keyless', 'identities'], 'it names no identity that has a counterpart');
  const sct = keyless['insecureIgnoreSCT'] === true ? { certificateLog: false } : {};
  return anyOf(identities.map((identity) => ({ sigstore: { ...identity, ...sct } })));
}

/** Returns the issuer and subject, or the reason why they have no counterpart. */
function identityOf(identity: Json): { readonly issuer: string; readonly subject: string } | string {
  const expression = textOf(identity['issuerRegExp']);
  const issuer =
    textOf(identity['issuer']) ?? (expression === undefined ? undefined : literalOfExpression(expression));
  if (issuer === undefined)
    return 'an issuer is compared exactly: this expression matches more than one issuer, or there is none';
  if (issuer.includes('*')) return 'an issuer with a * has no counterpart';
  if (identity['issuer'] !== undefined && expression !== undefined)
    return 'it names an issuer and an expression for the issuer';
  const exact = textOf(identity['subject']);
  const subjects = textOf(identity['subjectRegExp']);
  if (exact !== undefined && subjects !== undefined)
    return 'it names a subject and an expression for the subject';
  if (exact !== undefined)
    return exact.includes('*') ? 'a subject with a literal * has no counterpart' : { issuer, subject: exact };
  if (subjects === undefined) return 'without a subject, any identity of the issuer could sign';
  const pattern = patternOfExpression(subjects);
  if ('problem' in pattern) return `the expression "${subjects}": ${pattern.problem}`;
  return /^\*+$/.test(pattern.pattern)
    ? 'any identity of the issuer could sign'
    : { issuer, subject: pattern.pattern };
}

/** Converts attestations: every one is required, each signed by the authority. */
function attested(attestations: readonly unknown[], by: Json, drop: Drop): Json | undefined {
  const signers = listOf(by['any']).length > 0 ? (by['any'] as readonly Json[]) : [by];
  const demands: Json[] = [];
  for (const [index, one] of attestations.entries()) {
    const record = recordOf(one) ?? {};
    if (record['policy'] !== undefined)
      return drop(
        ['attestations', index, 'policy'],
        'a CUE or Rego policy has no counterpart; write it as a CEL expression of an attestation',
      );
    const type = predicateTypeOf(textOf(record['predicateType']) ?? '');
    if (type === undefined) return drop(['attestations', index], 'its predicate type is not known');
    const demand = anyOf(signers.map((signer) => ({ attestation: { type, by: signer } })));
    if (demand !== undefined) demands.push(demand);
  }
  return allOf(demands);
}
