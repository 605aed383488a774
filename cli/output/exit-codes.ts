import type { ErrorKind, PortcullisError } from '../../base/errors/index.ts';

/** The exit codes of every command (docs/exit-codes.md). */
export const exitCodes = { yes: 0, no: 1, usage: 2, undecided: 3, failed: 4 } as const;

/** The exit codes in one paragraph, for `portcullis --help`. */
export const exitCodesHelp = `
Exit codes:
  0    done, or the answer is yes
  1    the answer is no: denied, different, not valid
  2    wrong use, or wrong input
  3    undecided, or a registry or trust service did not answer: try again
  4    failed
  128+N  ended by signal N: 130 for Ctrl-C
`;

interface Row {
  /** Kinds of errors; absent: every kind. */
  readonly kinds?: readonly ErrorKind[];
  /** Codes of errors; absent: every code. */
  readonly codes?: RegExp;
  /** Whether the row is for this error; absent: it is for each error of these kinds and codes. */
  readonly applies?: (error: PortcullisError) => boolean;
  readonly exit: number;
}

/** The first row that matches an error determines the exit code. docs/exit-codes.md has the same rows. */
const rows: readonly Row[] = [
  { kinds: ['undecided'], exit: exitCodes.undecided },
  // The trust service of this machine, not one that was asked.
  {
    codes: /^TRUST_(?:SERVICE_[A-Z_]+|ROOT_UPDATE_FAILED)$/u,
    kinds: ['unavailable'],
    exit: exitCodes.failed,
  },
  // A registry, a trust service, a certificate authority or a log.
  {
    codes: /^(?:DISTRIBUTION|HTTP)_/u,
    kinds: ['unavailable', 'deadline', 'denied'],
    exit: exitCodes.undecided,
  },
  {
    codes: /^(?:TRUST_|IMAGES_NO_REPOSITORY$)/u,
    kinds: ['unavailable', 'deadline'],
    exit: exitCodes.undecided,
  },
  // `network`, `network overlay` and `service` refuse with 1 (docs/services.md, docs/networking.md).
  {
    codes:
      /^NETWORK_(?:IN_USE|EXISTS|SUBNET_TAKEN|UNKNOWN|NOT_CONNECTED|ALREADY_CONNECTED|TARGET_UNKNOWN|SERVICE_(?:UNKNOWN|NOT_YOURS|BACKEND_UNKNOWN|UNSUPPORTED))$/u,
    exit: exitCodes.no,
  },
  { codes: /^OVERLAY_(?:SERVICE|HOST)_UNKNOWN$/u, exit: exitCodes.no },
  // These deny access to this machine or to etcd, and are not the answer to a question.
  { codes: /^(?:NETWORK_NOT_ROOT$|OVERLAY_)/u, kinds: ['denied'], exit: exitCodes.failed },
  { kinds: ['denied'], exit: exitCodes.no },
  { kinds: ['invalid'], exit: exitCodes.usage },
];

/** Exit codes of one command where its errors are the answer to its question. */
export type Answers = readonly Row[];

/** `policy check`: an invalid policy is the answer "no". Files that cannot be read are wrong input. */
export const policyCheckAnswers: Answers = [
  { codes: /^TRUST_POLICY_INVALID$/u, applies: (error) => !isUnread(error), exit: exitCodes.no },
];

/** Whether every problem of a policy is a file that cannot be read. */
function isUnread({ failure: { details } }: PortcullisError): boolean {
  const problems = details?.['problems'];
  return (
    Array.isArray(problems) &&
    problems.every(
      (problem: unknown) =>
        typeof problem === 'object' && problem !== null && 'unread' in problem && problem.unread === true,
    )
  );
}

/** `verdicts verify`: a log that cannot be read to its end is not intact. */
export const logAnswers: Answers = [
  { kinds: ['data-loss'], exit: exitCodes.no },
  { codes: /^STORAGE_IO$/u, exit: exitCodes.no },
];

/** `entitlements prove`: a filter that is too complex is neither proven nor refuted. */
export const proofAnswers: Answers = [{ codes: /^ENTITLEMENTS_TOO_COMPLEX$/u, exit: exitCodes.undecided }];

/** `tuf-client`: its protocol has one exit code for failures. */
export const protocolAnswers: Answers = [{ exit: exitCodes.no }];

/**
 * Returns the exit code for an error: the first match in `answers`, then in the table of all commands, else
 * 4.
 */
export function exitCodeOf(error: PortcullisError, answers: Answers = []): number {
  const { kind, code } = error;
  const row = [...answers, ...rows].find(
    ({ kinds, codes, applies }) =>
      (kinds?.includes(kind) ?? true) && (codes?.test(code) ?? true) && (applies?.(error) ?? true),
  );
  return row?.exit ?? exitCodes.failed;
}
