import { createHash } from 'node:crypto';
import { basename, resolve } from 'node:path';
import { PortcullisError, fileReason, orThrow } from '../../base/errors/index.ts';
import { readPlainFile } from '../../base/files/index.ts';
import { append } from '../../base/lists/index.ts';
import { describeProblems, formatPath, sortProblems, validate } from '../../base/schema/index.ts';
import type { Document, Position, Problem } from '../../base/schema/index.ts';
import { canonicalDigest } from '../json/canonical-json.ts';
import { loadPrehashed } from '../keys/prehash.ts';
import { parsePublicKey } from '../keys/public-key.ts';
import { recordOf } from '../json/strict-json.ts';
import { isKeyText } from '../requirements/key-text.ts';
import type { PolicyKey, TrustPolicy, TrustRule } from '../requirements/types.ts';
import { policyText } from './policy-text.ts';
import { readPolicyFiles } from './documents.ts';
import type { Building, TufRoot } from '../requirements/building.ts';
import { otherTools, withOwnName } from './other-tools.ts';
import { readRules } from './rule.ts';
import { trustPolicySchema } from './schema.ts';

/** A document of another module among the policy's files. That module reads it. */
export interface OtherDocument {
  readonly kind: string;
  readonly name: string;
  readonly file: string;
  readonly line: number;
}

/** The sources of a policy, from which anybody can compute its revision ({@link policyRevision}). */
export interface PolicySources {
  /** Name and text of each policy file, in the order in which they were read. */
  readonly files: readonly { readonly name: string; readonly text: string }[];
  /** Name and digest of each file that the policy refers to; the digest is empty if it has none. */
  readonly keys: readonly { readonly name: string; readonly digest: string }[];
}

/** A checked policy, with everything else that its files hold. */
export interface LoadedPolicy {
  readonly policy: TrustPolicy;
  readonly sources: PolicySources;
  readonly otherDocuments: readonly OtherDocument[];
  /**
   * The policy files that were read, and the files and folders that they refer to: watch these for a reload.
   */
  readonly files: readonly string[];
  /** TUF repositories whose roots the policy reads: keep these up to date. */
  readonly tufRoots: readonly TufRoot[];
}

const otherKinds = ['EntitlementProfile', 'ExactProfile', 'PolicyTest', 'Waivers'];

/** A profile that a rule names as the ceiling of its containers. */
interface NamedCeiling {
  readonly ceiling: string;
  readonly position: Position;
  /** Such as `rules[0].entitlements.ceiling`. */
  readonly path: string;
}

/** The content of the files of a policy, whether it is valid or not. */
interface ReadPolicy extends Omit<LoadedPolicy, 'policy' | 'sources'> {
  /** Absent when there is a problem, as are the sources. */
  readonly policy?: TrustPolicy;
  readonly sources?: PolicySources;
  /** Every problem, sorted by file, line and column. */
  readonly problems: readonly Problem[];
  /**
   * The text of each policy file, in the order in which it was read, for the modules that read the other
   * documents.
   */
  readonly texts: readonly { readonly file: string; readonly text: string }[];
  readonly ceilings: readonly NamedCeiling[];
}

interface PolicyOptions {
  readonly paths: readonly string[];
  /** The bytes of the path `-`; without them, `-` is the name of a file. */
  readonly standardInput?: Uint8Array;
  /**
   * Bytes that replace the content of files which the policy refers to, by absolute path: the keys of policy
   * tests.
   */
  readonly substitutes?: ReadonlyMap<string, Buffer>;
  /**
   * Trusted roots that came with the policy, by the URL of their TUF repository: those of this machine do
   * not count.
   */
  readonly carriedRoots?: Building['carriedRoots'];
  readonly within?: Building['within'];
}

/**
 * Loads the TrustPolicy documents of files and folders. The rules of several documents form one list, in
 * order of file and position. The policy's revision is the digest of the bytes of every policy file and key
 * file.
 * @throws PortcullisError `TRUST_POLICY_INVALID`. `details.problems` holds every problem, each with file,
 * line and column, and `details.files` the files that were read
 */
export async function loadPolicy(options: PolicyOptions): Promise<LoadedPolicy> {
  const { policy, sources, problems, otherDocuments, files, tufRoots } = await readPolicy(options);
  if (policy === undefined || sources === undefined) throw policyInvalid(options.paths, problems, files);
  return { policy, sources, otherDocuments, files, tufRoots };
}

/**
 * Reads the TrustPolicy documents of files and folders like {@link loadPolicy}, and returns every problem
 * instead of throwing.
 */
export async function readPolicy(options: PolicyOptions): Promise<ReadPolicy> {
  const { substitutes, carriedRoots, within } = options;
  const fix = 'put a policy into it: portcullis policy init';
  const read = await readPolicyFiles(options.paths, options.standardInput, fix);
  const problems: Problem[] = [...read.problems];
  const references: Building['references'] = new Map();
  const tufRoots = new Map<string, TufRoot>();
  const rules: TrustRule[] = [];
  const ceilings: NamedCeiling[] = [];
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
    const other = otherTools(document);
    if (other !== undefined) {
      problems.push(other);
      continue;
    }
    // A document with a misspelt kind must be reported: a policy must not silently have no effect.
    found = true;
    append(problems, validate(document, trustPolicySchema).map(withOwnName));
    append(
      rules,
      await readRules({
        document,
        problems,
        references,
        tufRoots,
        ...(substitutes === undefined ? {} : { substitutes }),
        ...(carriedRoots === undefined ? {} : { carriedRoots }),
        ...(within === undefined ? {} : { within }),
      }),
    );
    append(ceilings, ceilingsOf(document));
  }
  // A file that a policy refers to, such as a trusted_root.json, may be beside it. Any other document without
  // a kind must be reported: a policy must not silently have no effect.
  for (const document of unmarked.filter(({ file }) => !references.has(resolve(file)))) {
    found = true;
    const other = otherTools(document);
    append(problems, other === undefined ? validate(document, trustPolicySchema) : [other]);
  }
  if (!found && problems.length === 0) {
    const file = options.paths[0] ?? '';
    problems.push({
      // A folder has no lines.
      position: read.files.includes(file) ? { file, line: 1, column: 1 } : { file, line: 0, column: 0 },
      path: '',
      message: 'no document of kind TrustPolicy',
      fix: 'write one: portcullis policy init',
    });
  }
  const { texts } = read;
  const files = [...read.files, ...references.keys()];
  const result = {
    problems: sortProblems(problems),
    otherDocuments,
    files,
    tufRoots: [...tufRoots.values()],
    texts,
    ceilings,
  };
  if (problems.length > 0) return result;
  const keys = [...references].map(([file, read]) => ({
    name: basename(file),
    digest: 'digest' in read ? read.digest : '',
  }));
  const revision = canonicalDigest({ files: read.digests, keys });
  const sources = { files: texts.map(({ file, text }) => ({ name: basename(file), text })), keys };
  const policy: TrustPolicy = { revision, default: 'deny', rules };
  // A policy whose decisions could not be replayed must not decide.
  policyText(policy);
  return { ...result, policy, sources };
}

/**
 * Computes the revision of a policy from its sources. A file that is not UTF-8 has another revision than this
 * one, because its text is not its content.
 */
export function policyRevision({ files, keys }: PolicySources): string {
  const digests = files.map(({ name, text }) => ({
    name,
    digest: createHash('sha256').update(text).digest('hex'),
  }));
  return canonicalDigest({ files: digests, keys });
}

/** Returns the profiles that the rules of a document name as ceilings. The document may have problems. */
function ceilingsOf(document: Document): NamedCeiling[] {
  const rules = recordOf(document.value)?.['rules'];
  return (Array.isArray(rules) ? rules : []).flatMap((rule, index) => {
    const ceiling = recordOf(recordOf(rule)?.['entitlements'])?.['ceiling'];
    const path = ['rules', index, 'entitlements', 'ceiling'];
    return typeof ceiling === 'string'
      ? [{ ceiling, position: document.positionOf(path), path: formatPath(path) }]
      : [];
  });
}

/**
 * Reads the public key of a file that a command names.
 * @throws PortcullisError `TRUST_KEY_UNREADABLE`
 */
export async function readPublicKeyFile(file: string): Promise<PolicyKey> {
  const failure = {
    code: 'TRUST_KEY_UNREADABLE',
    kind: 'invalid',
    attempted: 'read public key',
    on: file,
    fix: 'name a PEM public key, such as cosign.pub',
  } as const;
  if (isKeyText(file))
    throw new PortcullisError({
      ...{ ...failure, on: 'from the text of a key', why: 'the name of its file is expected' },
      fix: 'write the text to a file, and name the file',
    });
  const text: string = await orThrow(
    async () => (await readPlainFile(file, 64 * 1024)).toString('utf8'),
    (error) => new PortcullisError({ ...failure, why: fileReason(error, file), cause: error }),
  );
  const key = parsePublicKey(file, text);
  if ('problem' in key) throw new PortcullisError({ ...failure, why: key.problem });
  return key;
}

/**
 * Returns the policy for a single key: every image must be signed by it. For `verify --key`.
 * @throws PortcullisError `TRUST_KEY_UNREADABLE`
 */
export async function policyOfKey(file: string): Promise<TrustPolicy> {
  const key = await readPublicKeyFile(file);
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
  return (
    record !== undefined &&
    record['apiVersion'] === undefined &&
    record['kind'] === undefined &&
    record['rules'] === undefined
  );
}

function otherDocument(document: Document, kind: string): OtherDocument {
  const name = recordOf(recordOf(document.value)?.['metadata'])?.['name'];
  return {
    kind,
    name: typeof name === 'string' ? name : '',
    file: document.file,
    line: document.positionOf([]).line,
  };
}

/**
 * Returns the error for a policy with problems: `TRUST_POLICY_INVALID`. @param files the files to watch for a
 * fix
 */
export function policyInvalid(
  paths: readonly string[],
  problems: readonly Problem[],
  files: readonly string[],
): PortcullisError {
  const areUnread = problems.every(({ unread }) => unread === true);
  const place = problems.some(({ position }) => position.line > 0) ? 'lines' : 'files';
  return new PortcullisError({
    code: 'TRUST_POLICY_INVALID',
    kind: 'invalid',
    attempted: 'load trust policy',
    on: paths.join(', '),
    why: describeProblems(problems),
    fix: areUnread ? 'name files that exist and can be read' : `correct the ${place} named`,
    details: { problems, files },
  });
}
