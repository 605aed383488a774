import { basename } from 'node:path';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { formatProblems, validate } from '../../base/schema/index.ts';
import type { Document, Problem } from '../../base/schema/index.ts';
import { canonicalDigest } from '../canonical-json.ts';
import { parsePublicKey } from '../keys/public-key.ts';
import { recordOf } from '../strict-json.ts';
import type { TrustPolicy, TrustRule } from '../types.ts';
import { readBounded, readPolicyFiles } from './documents.ts';
import { parseImagePattern } from './image-pattern.ts';
import { readRequirement, report } from './requirement.ts';
import type { Building } from './requirement.ts';
import { trustPolicySchema } from './schema.ts';

/** A document of another room among the policy's files; left for that room to read. */
export interface OtherDocument {
  readonly kind: string;
  readonly name: string;
  readonly file: string;
  readonly line: number;
}

export interface LoadedPolicy {
  readonly policy: TrustPolicy;
  readonly otherDocuments: readonly OtherDocument[];
  /** The policy files and key files that were read: what to watch for a reload. */
  readonly files: readonly string[];
}

const otherKinds = ['EntitlementProfile'];

/**
 * Loads the TrustPolicy documents of files and folders; the rules of several are one list, in order of file and place.
 * The policy's revision is the digest of every policy file's and key file's bytes.
 * @throws PortcullisError `TRUST_POLICY_INVALID` whose `details.problems` holds every problem, each with file, line and column
 */
export async function loadPolicy(options: { readonly paths: readonly string[] }): Promise<LoadedPolicy> {
  const read = await readPolicyFiles(options.paths);
  const problems: Problem[] = [...read.problems];
  const keys: Building['keys'] = new Map();
  const rules: TrustRule[] = [];
  const otherDocuments: OtherDocument[] = [];
  let found = false;
  for (const document of read.documents) {
    const kind = recordOf(document.value)?.['kind'];
    if (typeof kind === 'string' && otherKinds.includes(kind)) {
      otherDocuments.push(otherDocument(document, kind));
      continue;
    }
    // A document without a kind, or with a misspelt one, must not be a policy that silently does not hold.
    found = true;
    problems.push(...validate(document, trustPolicySchema));
    rules.push(...(await readRules({ document, problems, keys })));
  }
  if (!found && problems.length === 0) {
    const file = options.paths[0] ?? '';
    problems.push({
      position: { file, line: 1, column: 1 },
      path: '',
      message: 'no document of kind TrustPolicy',
      fix: 'write one: portcullis policy init',
    });
  }
  if (problems.length > 0) throw invalid(options.paths, problems);
  const keyDigests = [...keys].map(([file, key]) => ({ name: basename(file), digest: 'digest' in key ? key.digest : '' }));
  const revision = canonicalDigest({ files: read.digests, keys: keyDigests });
  return { policy: { revision, default: 'deny', rules }, otherDocuments, files: [...read.files, ...keys.keys()] };
}

/**
 * The policy that one key means: every image must be signed by it. For `verify --key`.
 * @throws PortcullisError `TRUST_KEY_UNREADABLE`
 */
export async function policyOfKey(file: string): Promise<TrustPolicy> {
  const failure = {
    code: 'TRUST_KEY_UNREADABLE',
    kind: 'invalid',
    attempted: 'read public key',
    on: file,
    fix: 'name a PEM public key, such as cosign.pub',
  } as const;
  let text: string;
  try {
    text = (await readBounded(file, 64 * 1024)).toString('utf8');
  } catch (error) {
    throw new PortcullisError({ ...failure, why: reasonOf(error), cause: error });
  }
  const key = parsePublicKey(file, text);
  if ('problem' in key) throw new PortcullisError({ ...failure, why: key.problem });
  const name = `key ${file}`;
  const rule: TrustRule = {
    name,
    images: ['**'],
    require: { kind: 'cosign-key', key },
    allowUnverified: false,
    ceiling: { rule: name, ceiling: 'baseline' },
  };
  return { revision: canonicalDigest({ key: key.spki }), default: 'deny', rules: [rule] };
}

async function readRules(building: Building): Promise<TrustRule[]> {
  const list = recordOf(building.document.value)?.['rules'];
  const rules: TrustRule[] = [];
  for (const [index, value] of (Array.isArray(list) ? list : []).entries()) {
    const rule = await readRule(recordOf(value) ?? {}, index, building);
    if (rule !== undefined) rules.push(rule);
  }
  return rules;
}

async function readRule(record: Readonly<Record<string, unknown>>, index: number, building: Building): Promise<TrustRule | undefined> {
  const path = ['rules', index];
  const images = textsOf(record['images']);
  for (const [position, pattern] of images.entries()) {
    try {
      parseImagePattern(pattern);
    } catch (error) {
      report(
        building,
        [...path, 'images', position],
        `"${pattern}" is not an image pattern: ${reasonOf(error)}`,
        'write it like registry.example.com/team/**',
      );
    }
  }
  if (Object.hasOwn(record, 'onStale'))
    report(building, [...path, 'onStale'], '`onStale` is not supported by this version', 'leave it out: stale is denied', 'key');
  const requires = Object.hasOwn(record, 'require');
  const allows = Object.hasOwn(record, 'allow');
  if (requires && allows) report(building, [...path, 'allow'], 'a rule either requires or allows, not both', 'make two rules of it', 'key');
  if (!requires && !allows)
    report(building, path, 'the rule says neither `require` nor `allow`', 'say what must be proven: require: { cosign: { key: FILE } }');
  const require = requires ? await readRequirement(record['require'], [...path, 'require'], building) : undefined;
  const position = building.document.positionOf(path);
  const name = `${basename(position.file)}:${position.line}`;
  const entitlements = recordOf(record['entitlements']) ?? {};
  const ceiling = typeof entitlements['ceiling'] === 'string' ? entitlements['ceiling'] : 'baseline';
  return {
    name,
    images,
    ...(Object.hasOwn(record, 'namespaces') ? { namespaces: textsOf(record['namespaces']) } : {}),
    ...(require === undefined ? {} : { require }),
    allowUnverified: record['allow'] === 'unverified',
    ceiling: { rule: name, ceiling, ...(entitlements['require'] === 'signed' ? { require: 'signed' } : {}) },
  };
}

function textsOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((entry): entry is string => typeof entry === 'string') : [];
}

function otherDocument(document: Document, kind: string): OtherDocument {
  const name = recordOf(recordOf(document.value)?.['metadata'])?.['name'];
  return { kind, name: typeof name === 'string' ? name : '', file: document.file, line: document.positionOf([]).line };
}

function invalid(paths: readonly string[], problems: readonly Problem[]): PortcullisError {
  const sorted = problems.toSorted(
    (a, b) => a.position.file.localeCompare(b.position.file) || a.position.line - b.position.line || a.position.column - b.position.column,
  );
  return new PortcullisError({
    code: 'TRUST_POLICY_INVALID',
    kind: 'invalid',
    attempted: 'load trust policy',
    on: paths.join(', '),
    why: `${sorted.length} problem${sorted.length === 1 ? '' : 's'}:\n${formatProblems(sorted)}\n`,
    fix: 'correct the lines named',
    details: { problems: sorted },
  });
}
