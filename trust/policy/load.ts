import { basename, resolve } from 'node:path';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { append } from '../../base/lists/index.ts';
import { formatProblems, validate } from '../../base/schema/index.ts';
import type { Document, Problem } from '../../base/schema/index.ts';
import { canonicalDigest } from '../canonical-json.ts';
import { loadPrehashed } from '../keys/prehash.ts';
import { parsePublicKey } from '../keys/public-key.ts';
import { recordOf } from '../strict-json.ts';
import type { TrustPolicy, TrustRule } from '../types.ts';
import { policyText } from '../verdict/log/texts.ts';
import { readBounded, readPolicyFiles } from './documents.ts';
import type { Building, TufRoot } from './building.ts';
import { readRules } from './rule.ts';
import { trustPolicySchema } from './schema.ts';

/** A document of another room among the policy's files. That room reads it. */
export interface OtherDocument {
  readonly kind: string;
  readonly name: string;
  readonly file: string;
  readonly line: number;
}

/** A checked policy, with everything else that its files hold. */
export interface LoadedPolicy {
  readonly policy: TrustPolicy;
  readonly otherDocuments: readonly OtherDocument[];
  /**
   * The policy files that were read, and the files and folders that they refer to: watch these for a reload.
   */
  readonly files: readonly string[];
  /** TUF repositories whose roots the policy reads: keep these up to date. */
  readonly tufRoots: readonly TufRoot[];
}

const otherKinds = ['EntitlementProfile', 'PolicyTest'];

/**
 * Loads the TrustPolicy documents of files and folders. The rules of several documents form one list, in
 * order of file and position. The policy's revision is the digest of the bytes of every policy file and key
 * file.
 * @throws PortcullisError `TRUST_POLICY_INVALID`. `details.problems` holds every problem, each with file,
 * line and column, and `details.files` the files that were read
 */
export async function loadPolicy(options: {
  readonly paths: readonly string[];
  /**
   * Bytes that replace the content of files which the policy refers to, by absolute path: the keys of policy
   * tests.
   */
  readonly substitutes?: ReadonlyMap<string, Buffer>;
}): Promise<LoadedPolicy> {
  const { substitutes } = options;
  const read = await readPolicyFiles(options.paths);
  const problems: Problem[] = [...read.problems];
  const references: Building['references'] = new Map();
  const tufRoots = new Map<string, TufRoot>();
  const rules: TrustRule[] = [];
  const otherDocuments: OtherDocument[] = [];
  const unmarked: Document[] = [];
  let found = false;
  for (const document of read.documents) {
    const kind = recordOf(document.value)?.['kind'];
    if (typeof kind === 'string' && otherKinds.includes(kind)) {
      otherDocuments.push(otherDocument(document, kind));
      continue;
    }
    if (isUnmarked(document)) {
      unmarked.push(document);
      continue;
    }
    // A document with a misspelt kind must be reported: a policy must not silently have no effect.
    found = true;
    append(problems, validate(document, trustPolicySchema));
    append(rules, await readRules({ document, problems, references, tufRoots, ...(substitutes === undefined ? {} : { substitutes }) }));
  }
  // A file that a policy refers to, such as a trusted_root.json, may be beside it. Any other document without
  // a kind must be reported: a policy must not silently have no effect.
  for (const document of unmarked.filter(({ file }) => !references.has(resolve(file)))) {
    found = true;
    append(problems, validate(document, trustPolicySchema));
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
  if (problems.length > 0) throw invalid(options.paths, problems, [...read.files, ...references.keys()]);
  const keys = [...references].map(([file, read]) => ({ name: basename(file), digest: 'digest' in read ? read.digest : '' }));
  const revision = canonicalDigest({ files: read.digests, keys });
  const policy: TrustPolicy = { revision, default: 'deny', rules };
  // A policy whose decisions could not be replayed must not decide.
  policyText(policy);
  return { policy, otherDocuments, files: [...read.files, ...references.keys()], tufRoots: [...tufRoots.values()] };
}

/**
 * Returns the policy for a single key: every image must be signed by it. For `verify --key`.
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
  if (key.type === 'ed25519') await loadPrehashed();
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

/** Whether a document has neither our form nor that of Kubernetes. */
function isUnmarked({ value }: Document): boolean {
  const record = recordOf(value);
  return record !== undefined && record['apiVersion'] === undefined && record['kind'] === undefined && record['rules'] === undefined;
}

function otherDocument(document: Document, kind: string): OtherDocument {
  const name = recordOf(recordOf(document.value)?.['metadata'])?.['name'];
  return { kind, name: typeof name === 'string' ? name : '', file: document.file, line: document.positionOf([]).line };
}

function invalid(paths: readonly string[], problems: readonly Problem[], files: readonly string[]): PortcullisError {
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
    details: { problems: sorted, files },
  });
}
