import { isPortcullisError } from '../../base/errors/index.ts';
import { normaliseReference } from '../requirements/named-images.ts';
import type { Reason } from '../findings/types.ts';
import { codeOf } from '../findings/evaluation.ts';
import type { Answer, Evaluation, EvaluationContext, Evidence } from '../findings/evaluation.ts';
import { isUnavailable } from '../tuf/failure.ts';
import { searchDigest, searchPath } from '../tuf/search.ts';
import type { FoundTarget } from '../tuf/search.ts';
import { judgeFiles } from './judge-files.ts';
import type { JudgedFiles } from './judge-files.ts';
import { filesIn } from './metadata-files.ts';
import type { FoundFiles } from './metadata-files.ts';
import { repositoryOf } from './repository.ts';
import type { ImageRepository } from './repository.ts';
import { describeTuf } from '../requirements/tuf.ts';
import type { TufRequirement } from '../requirements/tuf.ts';
import { mayName, rootNames } from './root-names.ts';

/** The result, in one sentence with its code. */
interface Judgement {
  readonly answer: Answer;
  readonly code: string;
  readonly text: string;
  readonly notes?: readonly Reason[];
  readonly validUntil?: string;
}

/** Allowed difference between the clocks of recording and evaluation, in ms. */
const clockSkew = 5 * 60 * 1000;

/**
 * Evaluates whether the image is the one that the service has signed for the requested name. Everything is
 * verified again from the pinned root on, only from the metadata in the dossier: signatures, versions,
 * expiry, age and digest. Pure.
 */
export function evaluateTuf(
  requirement: TufRequirement,
  evidence: Evidence,
  context: EvaluationContext,
): Evaluation {
  const { answer, code, text, notes = [], validUntil } = judge(requirement, evidence, context);
  return {
    answer,
    reason: {
      counted: answer === 'yes',
      text: describeTuf(requirement),
      code: codeOf(answer),
      children: [
        { counted: answer === 'yes', text, code, ...(notes.length === 0 ? {} : { children: notes }) },
      ],
    },
    ...(validUntil === undefined ? {} : { validUntil }),
  };
}

function judge(requirement: TufRequirement, evidence: Evidence, context: EvaluationContext): Judgement {
  const repository = repositoryOf(requirement, normaliseReference(context.reference));
  if (repository.root === undefined)
    return no('TRUST_TUF_NO_ROOT', `the policy names no root for ${repository.image}`);
  const found = filesIn(evidence.items, repository);
  if (!found.any)
    return unknown('TRUST_TUF_UNREACHABLE', `${requirement.service} was not asked about ${repository.image}`);
  if (found.altered.length > 0)
    return no(
      'TRUST_EVIDENCE_ALTERED',
      `its recorded metadata does not match its digests: ${found.altered.join(', ')}`,
    );
  if (found.absent.length > 0)
    return unknown(
      'TRUST_EVIDENCE_UNUSABLE',
      `its recorded metadata is not available: ${found.absent.join(', ')}`,
    );
  const { refused } = found;
  if (refused !== undefined && !isUnavailable(refused.code)) return no(refused.code, refused.why);
  const notes =
    refused === undefined
      ? []
      : [{ counted: false, text: `the service could not be reached: ${refused.why}`, code: refused.code }];
  if (Number.isNaN(found.checkedAt))
    return {
      ...unknown(refused?.code ?? 'TRUST_TUF_MISSING', refused?.why ?? 'no answer of it is known'),
      notes,
    };
  if (found.checkedAt > context.now.getTime() + clockSkew) {
    const text = `it was asked at ${instant(found.checkedAt)}, which is in the future`;
    const validUntil = instant(found.checkedAt - clockSkew);
    return { ...unknown('TRUST_TIME_FUTURE', text), validUntil, notes };
  }
  try {
    return {
      ...judgeBelieved(requirement, repository, found, evidence, context),
      ...(notes.length === 0 ? {} : { notes }),
    };
  } catch (error) {
    if (!isPortcullisError(error)) throw error;
    return { ...no(error.code, `${error.failure.on}: ${error.failure.why}`), notes };
  }
}

function judgeBelieved(
  requirement: TufRequirement,
  repository: ImageRepository,
  found: FoundFiles,
  evidence: Evidence,
  context: EvaluationContext,
): Judgement {
  // All metadata must have been valid when the service was asked. Metadata that has expired since is handled
  // separately.
  const judged = judgeFiles({
    dialect: requirement.dialect,
    root: firstRoot(repository, found),
    files: found.files,
    at: new Date(found.checkedAt),
  });
  const names = requirement.dialect === 'notary' ? rootNames(judged.current().root.bytes) : [];
  if (!mayName(names, repository.image))
    return no(
      'TRUST_TUF_OTHER_IMAGE',
      `its root is made for ${names.join(', ')}, but the image is ${repository.image}`,
    );
  const signed = search(judged, repository);
  if (signed.code !== undefined) return no(signed.code, signed.text);
  const hex = signed.target.hashes['sha256'] ?? '';
  const version = judged.current().timestamp?.signed.version ?? 0;
  const said = `${shown(signed.target.path)} is signed as sha256:${hex} by ${signed.target.role}, as the service said at ${instant(found.checkedAt)} (timestamp version ${version})`;
  if (`sha256:${hex}` !== evidence.digest && hex !== repository.digest) {
    const other =
      evidence.digest === ''
        ? 'and the digest of this image is not known'
        : `but this image is ${evidence.digest}`;
    return no('TRUST_TUF_OTHER_DIGEST', `${said}, ${other}`);
  }
  return holdToTime(requirement, said, { ends: judged.ends(), found, now: context.now.getTime() });
}

function firstRoot({ root }: ImageRepository, { files }: FoundFiles): Buffer {
  if (root !== 'first-use') return Buffer.from(root?.content ?? '', 'base64');
  return files.get('first.root') ?? Buffer.alloc(0);
}

type Searched =
  | { readonly target: FoundTarget; readonly code?: undefined }
  | { readonly code: string; readonly text: string };

function search(judged: JudgedFiles, { target, digest, about, lookUp, image }: ImageRepository): Searched {
  if (target !== undefined) {
    const found = judged.run((current) => searchPath(target, lookUp, current));
    if (found === undefined)
      return {
        code: 'TRUST_TUF_NO_TARGET',
        text: `no authorised role has signed ${shown(target)} of ${image}`,
      };
    if (digest !== undefined && found.hashes['sha256'] !== digest)
      return {
        code: 'TRUST_TUF_OTHER_DIGEST',
        text: `${shown(target)} is signed as sha256:${found.hashes['sha256'] ?? '(none)'}, not sha256:${digest}`,
      };
    return { target: found };
  }
  const found = judged.run((current) => searchDigest(digest ?? '', about, lookUp, current));
  if (found !== undefined) return { target: found };
  return {
    code: 'TRUST_TUF_NO_TARGET',
    text: `no name of ${image} that is signed now has the digest sha256:${digest ?? ''}`,
  };
}

/**
 * Limits the result in time. A signed digest is in force until the first of its metadata expires, or until
 * the service was not asked for too long; after that, for the policy's grace period.
 */
function holdToTime(
  { maxAge, grace, root }: TufRequirement,
  said: string,
  { ends, found, now }: { readonly ends: number; readonly found: FoundFiles; readonly now: number },
): Judgement {
  const aged = maxAge === undefined ? Number.POSITIVE_INFINITY : found.checkedAt + maxAge * 1000;
  const until = Math.min(ends, aged);
  const since = found.firstUse === undefined ? '' : `, since ${found.firstUse}`;
  const first = root === 'first-use' ? `; trusted on first use${since}` : '';
  if (now < until)
    return { answer: 'yes', code: 'TRUST_TUF_SIGNED', text: `${said}${first}`, validUntil: instant(until) };
  const why =
    aged <= ends
      ? `the policy requires that it is asked within ${maxAge ?? 0} s`
      : `its metadata expired at ${instant(ends)}`;
  // The grace period applies only to results obtained while the service answered.
  const mercy = grace === undefined || found.refused !== undefined ? until : until + grace * 1000;
  if (now < mercy) {
    const text = `${said}; ${why}, but admitted images stay admitted until ${instant(mercy)} (onStale)`;
    return { answer: 'yes', code: 'TRUST_TUF_STALE_ADMITTED', text, validUntil: instant(mercy) };
  }
  return unknown('TRUST_TUF_STALE', `${said}; ${why}, and nothing newer is known`);
}

function no(code: string, text: string): Judgement {
  return { answer: 'no', code, text };
}

function unknown(code: string, text: string): Judgement {
  return { answer: 'unknown', code, text };
}

function instant(time: number): string {
  return new Date(Math.min(time, 8.64e15)).toISOString();
}

/**
 * Quotes a target name. The signer chooses these names, so they are shortened, and control characters are
 * replaced.
 */
function shown(path: string): string {
  return JSON.stringify(path.slice(0, 200).replace(/[^\x20-\x7e]/g, '?'));
}
