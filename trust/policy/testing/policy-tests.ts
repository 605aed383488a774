import { dirname, resolve } from 'node:path';
import { PortcullisError, isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { append } from '../../../base/lists/index.ts';
import { describeProblems, formatPath, validate } from '../../../base/schema/index.ts';
import type { Document, PathSegment, Problem } from '../../../base/schema/index.ts';
import { recordOf } from '../../json/strict-json.ts';
import type { Platform, Reason, Verdict } from '../../findings/types.ts';
import type { TrustPolicy } from '../../requirements/types.ts';
import { readPolicyFiles } from '../documents.ts';
import { parseInstant } from '../../requirements/duration.ts';
import { loadPolicy } from '../load.ts';
import { matchRules } from '../matching.ts';
import { normaliseReference } from '../../requirements/named-images.ts';
import { makeDossier, makeTestKey } from './synthetic-evidence.ts';
import type { StatedAttestation, StatedSignature, TestKey } from './synthetic-evidence.ts';
import { policyTestSchema } from './policy-test-schema.ts';
import { decideRecording, readRecording } from './recording.ts';
import type { Recording } from './recording.ts';

/** The test files to run, and the policies to test. */
export interface PolicyTestOptions {
  /** Test files or folders. */
  readonly paths: readonly string[];
  /** Replaces the `policy` of every test document. Empty: each document names its own. */
  readonly policy: readonly string[];
  /** The time for cases that state none. */
  readonly now: Date;
}

/** The results of a policy's tests, case by case. */
export interface PolicyTestResult {
  readonly cases: readonly CaseResult[];
  /** Names of the rules that no case reached, each once. */
  readonly unreached: readonly string[];
}

/** The result of one case of a policy test. */
export interface CaseResult {
  /** `FILE:LINE`. */
  readonly place: string;
  readonly name: string;
  readonly passed: boolean;
  readonly verdict: Verdict;
  /** Why the case failed; empty when it passed. */
  readonly failures: readonly string[];
}

/** A case that has passed the schema check. */
interface CaseDocument {
  readonly name: string;
  readonly image?: string;
  readonly namespace?: string;
  readonly platform?: string;
  readonly now?: string;
  readonly dossier?: string;
  readonly index?: boolean;
  readonly signed?: readonly StatedSignature[];
  readonly attested?: readonly StatedAttestation[];
  readonly unreachable?: boolean;
  readonly expect: Verdict['outcome'];
  readonly reason?: string;
  readonly exception?: 'break-glass' | 'report';
}

interface Suite {
  readonly document: Document;
  readonly policy: TrustPolicy;
  readonly keyOf: (name: string) => TestKey;
  readonly now: Date;
  readonly problems: Problem[];
}

/**
 * Runs the PolicyTest documents of files and folders. Ignores other documents there.
 * @throws PortcullisError `TRUST_POLICY_TEST_INVALID` with every problem of the test files;
 * `TRUST_POLICY_INVALID` for a policy
 */
export async function testPolicy(options: PolicyTestOptions): Promise<PolicyTestResult> {
  const { documents, problems: found } = await readPolicyFiles(options.paths);
  const problems: Problem[] = [...found];
  const tests = documents.filter((document) => recordOf(document.value)?.['kind'] === 'PolicyTest');
  if (tests.length === 0 && problems.length === 0) {
    const position = { file: options.paths[0] ?? '', line: 1, column: 1 };
    problems.push({
      position,
      path: '',
      message: 'no document of kind PolicyTest',
      fix: 'write one: see docs/policy.md',
    });
  }
  for (const document of tests) append(problems, validate(document, policyTestSchema));
  if (problems.length > 0) throw invalid(options.paths, problems);

  const cases: CaseResult[] = [];
  const reached = new Map<string, boolean>();
  for (const document of tests) {
    const suite = await openSuite(document, options, problems);
    if (suite === undefined) continue;
    for (const rule of suite.policy.rules) if (!reached.has(rule.name)) reached.set(rule.name, false);
    for (const [index, each] of casesOf(document).entries()) {
      const result = await runCase(each, ['cases', index], suite);
      if (result === undefined) continue;
      cases.push(result);
      for (const name of rulesReached(suite.policy, result.verdict)) reached.set(name, true);
    }
  }
  if (problems.length > 0) throw invalid(options.paths, problems);
  return { cases, unreached: [...reached].filter(([, hit]) => !hit).map(([name]) => name) };
}

async function openSuite(
  document: Document,
  options: PolicyTestOptions,
  problems: Problem[],
): Promise<Suite | undefined> {
  const record = recordOf(document.value) ?? {};
  const beside = (name: string): string => resolve(dirname(document.file), name);
  const named = (Array.isArray(record['policy']) ? record['policy'] : []).map(String).map(beside);
  const paths = options.policy.length > 0 ? options.policy : named;
  if (paths.length === 0) {
    problem(
      { document, problems },
      [],
      'the test names no policy',
      'add `policy: [FILE]`, or give --policy FILE',
    );
    return undefined;
  }
  const keys = new Map<string, TestKey>();
  const substitutes = new Map<string, Buffer>();
  for (const [name, file] of Object.entries(recordOf(record['keys']) ?? {})) {
    const key = makeTestKey(name);
    keys.set(name, key);
    substitutes.set(beside(String(file)), key.publicPem);
  }
  const { policy, files } = await loadPolicy({ paths, substitutes });
  for (const [name, file] of Object.entries(recordOf(record['keys']) ?? {})) {
    if (!files.includes(beside(String(file))))
      problem(
        { document, problems },
        ['keys', name],
        `the policy names no file ${String(file)}`,
        'name a key file of the policy, relative to this test',
      );
  }
  const keyOf = (name: string): TestKey => {
    const known = keys.get(name) ?? makeTestKey(name);
    keys.set(name, known);
    return known;
  };
  return {
    document,
    policy,
    keyOf,
    problems,
    now: instantAt(document, record['now'], ['now'], problems) ?? options.now,
  };
}

async function runCase(
  stated: CaseDocument,
  path: readonly PathSegment[],
  suite: Suite,
): Promise<CaseResult | undefined> {
  const { document, policy, problems } = suite;
  const before = problems.length;
  const now = instantAt(document, stated.now, [...path, 'now'], problems) ?? suite.now;
  const recording = await recordingOf(stated, path, suite, now);
  if (recording === undefined || problems.length > before) return undefined;
  const verdict = decideRecording(recording, policy, now);
  const failures = failuresOf(stated, verdict);
  const { file, line } = document.positionOf(path);
  return { place: `${file}:${line}`, name: stated.name, passed: failures.length === 0, verdict, failures };
}

async function recordingOf(
  stated: CaseDocument,
  path: readonly PathSegment[],
  suite: Suite,
  now: Date,
): Promise<Recording | undefined> {
  const { document } = suite;
  const asked = {
    ...(stated.image === undefined ? {} : { reference: stated.image }),
    ...(stated.namespace === undefined ? {} : { namespace: stated.namespace }),
    ...(stated.platform === undefined ? {} : { platform: platformOf(stated.platform) }),
  };
  if (stated.dossier !== undefined) {
    for (const field of ['index', 'signed', 'attested', 'unreachable'] as const) {
      if (stated[field] !== undefined)
        problem(
          suite,
          [...path, field],
          `\`${field}\` cannot be combined with \`dossier\``,
          'remove one of the two',
          'key',
        );
    }
    try {
      return { ...(await readRecording(resolve(dirname(document.file), stated.dossier))), ...asked };
    } catch (error) {
      problem(
        suite,
        [...path, 'dossier'],
        isPortcullisError(error) ? error.failure.why : reasonOf(error),
        'record it: portcullis verify IMAGE --save-dossier FILE',
      );
      return undefined;
    }
  }
  if (stated.image === undefined) {
    problem(suite, path, 'the case has neither `image` nor `dossier`', 'say which image it is about');
    return undefined;
  }
  try {
    const { image, index = false, signed = [], attested = [], unreachable = false } = stated;
    const dossier = await makeDossier({ image, index, signed, attested, unreachable }, suite.keyOf, now);
    return {
      name: stated.name,
      reference: image,
      namespace: '',
      platform: { os: 'linux', architecture: 'amd64' },
      dossier,
      ...asked,
    };
  } catch (error) {
    problem(
      suite,
      [...path, 'image'],
      isPortcullisError(error) ? error.failure.why : reasonOf(error),
      'write a reference, such as registry.example.com/app:1',
    );
    return undefined;
  }
}

function failuresOf({ expect, reason, exception }: CaseDocument, verdict: Verdict): readonly string[] {
  return [
    ...(verdict.outcome === expect ? [] : [`expected ${expect}, got ${verdict.outcome}`]),
    ...(reason === undefined || codesOf(verdict.reasons).includes(reason)
      ? []
      : [`no reason has the code ${reason}`]),
    ...(exception === undefined || verdict.exceptions?.some(({ kind }) => kind === exception) === true
      ? []
      : [`expected an exception (${exception}), and none admitted it`]),
  ];
}

function codesOf(reason: Reason): readonly string[] {
  return [...(reason.code === undefined ? [] : [reason.code]), ...(reason.children ?? []).flatMap(codesOf)];
}

function rulesReached(policy: TrustPolicy, verdict: Verdict): readonly string[] {
  const { reference, namespace, digest, manifestDigest } = verdict;
  const digests = [digest, manifestDigest];
  try {
    const { requiring, unverified } = matchRules(policy, normaliseReference(reference), namespace, digests);
    return [...requiring, ...unverified].map(({ name }) => name);
  } catch {
    return [];
  }
}

function casesOf(document: Document): readonly CaseDocument[] {
  return (document.value as { readonly cases: readonly CaseDocument[] }).cases;
}

function platformOf(text: string): Platform {
  const [os = '', architecture = '', variant] = text.split('/');
  return { os, architecture, ...(variant === undefined ? {} : { variant }) };
}

function instantAt(
  document: Document,
  value: unknown,
  path: readonly PathSegment[],
  problems: Problem[],
): Date | undefined {
  if (typeof value !== 'string') return undefined;
  const instant = parseInstant(value);
  if (instant === undefined)
    problem(
      { document, problems },
      path,
      `"${value}" is not a valid date`,
      'write a time, such as 2026-01-31T12:00:00Z',
    );
  return instant === undefined ? undefined : new Date(instant);
}

function problem(
  { document, problems }: Pick<Suite, 'document' | 'problems'>,
  path: readonly PathSegment[],
  message: string,
  fix: string,
  part: 'key' | 'value' = 'value',
): void {
  problems.push({ position: document.positionOf(path, part), path: formatPath(path), message, fix });
}

function invalid(paths: readonly string[], problems: readonly Problem[]): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_POLICY_TEST_INVALID',
    kind: 'invalid',
    attempted: 'read policy tests',
    on: paths.join(', '),
    why: describeProblems(problems),
    fix: problems.every(({ unread }) => unread === true)
      ? 'name files that exist and can be read'
      : 'correct the lines named',
    details: { problems },
  });
}
