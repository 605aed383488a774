import { asPortcullisError, reasonAndFix } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import { parseReference } from '../../base/distribution/index.ts';
import type { GateImage, WorkloadImage } from '../../trust/gate/index.ts';
import { explainReason } from '../../trust/index.ts';
import type { TrustPolicy } from '../../trust/index.ts';
import { ceilingWarnings } from '../decisions/ceilings.ts';
import type { DecisionSource, ImageDecision, ImageDecisions } from '../decisions/image-decisions.ts';
import type { PolicyInForce } from '../policy/policy-in-force.ts';
import { longestMessage, pointer, refusal } from '../reviews/response.ts';
import type { PatchOperation, ReviewAnswer } from '../reviews/response.ts';
import type { ExaminedReview } from './examine-review.ts';

/** The parts of the webhook that a decision about a review needs. */
export interface DecideReviewContext {
  readonly policy: PolicyInForce;
  readonly decisions: ImageDecisions;
  /** Aborted when the review must be answered. Its reason says why. */
  readonly signal: AbortSignal;
  /** Called for each image. */
  readonly onDecision: (decision: GateImage['decision'], source: DecisionSource) => void;
}

const longestAudit = 8 * 1024;

/** One image of the review, as decided. */
interface Decided {
  readonly image: WorkloadImage;
  readonly decision: ImageDecision | PortcullisError;
}

/**
 * Decides about the images that a review adds. Never rejects: an object that cannot be decided about is
 * refused.
 */
export async function decideReview(
  review: ExaminedReview,
  context: DecideReviewContext,
): Promise<ReviewAnswer> {
  const { images, unread } = review;
  if (images.length === 0) return { allowed: true, ...(unread.length > 0 && { warnings: unread }) };
  const policy = context.policy.current();
  if (policy === undefined)
    return refusal(
      503,
      'ServiceUnavailable',
      `there is no valid trust policy, so no image is admitted${
        context.policy.problem() === undefined ? '' : `: ${context.policy.problem() ?? ''}`
      }`,
    );
  const decided = await decideAll(images, policy, review, context);
  const refused = decided.filter(({ decision }) => !isAdmitted(decision));
  const audit = auditOf(decided, policy);
  if (refused.length > 0) return { ...refusalOf(refused, images.length), audit };
  if (review.mode === 'mutate') {
    if (!review.pins) return { allowed: true, audit };
    const { unanswered, ...pinned } = await digestPatch(decided, policy, review, context);
    return unanswered.length > 0
      ? {
          ...refusalOf(unanswered, images.length),
          audit: auditOf([...decided, ...unanswered], policy),
        }
      : { allowed: true, audit, ...pinned };
  }
  const warnings = [
    ...unread,
    ...looseWarnings(decided),
    ...(review.demands === undefined
      ? []
      : ceilingWarnings(review.demands, verdictsOf(decided), context.policy.profiles())),
  ];
  return { allowed: true, ...(warnings.length > 0 && { warnings }), audit };
}

const isAdmitted = (decision: Decided['decision']): decision is ImageDecision =>
  'length' in decision && decision.length > 0 && decision.every((one) => one.decision === 'admitted');

async function decideAll(
  images: readonly WorkloadImage[],
  policy: TrustPolicy,
  { namespace, party }: ExaminedReview,
  { decisions, signal, onDecision }: DecideReviewContext,
): Promise<readonly Decided[]> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const end = (): void => reject(signal.reason as Error);
  signal.addEventListener('abort', end, { once: true });
  // The caller may have stopped waiting.
  late.catch(() => undefined);
  if (signal.aborted) end();
  const asked = new Map<string, Promise<Decided['decision']>>();
  const ask = async (reference: string): Promise<Decided['decision']> => {
    let source: DecisionSource = 'miss';
    try {
      const deciding = decisions.decide(policy, { reference, namespace, party }, (found) => (source = found));
      deciding.catch(() => undefined);
      const decision = await Promise.race([deciding, late]);
      onDecision(worstOf(decision), source);
      return decision;
    } catch (thrown) {
      onDecision('undecided', source);
      return asPortcullisError(thrown, {
        code: 'ADMISSION_FAILED',
        kind: 'internal',
        attempted: 'decide about image',
        on: reference,
        fix: 'report this',
      });
    }
  };
  try {
    return await Promise.all(
      images.map(async (image) => {
        const known = asked.get(image.reference) ?? ask(image.reference);
        asked.set(image.reference, known);
        return { image, decision: await known };
      }),
    );
  } finally {
    signal.removeEventListener('abort', end);
  }
}

const severity: readonly GateImage['decision'][] = ['admitted', 'waived', 'undecided', 'failed', 'denied'];

function worstOf(decision: ImageDecision): GateImage['decision'] {
  return decision
    .map((one) => one.decision)
    .reduce((worst, one) => (severity.indexOf(one) > severity.indexOf(worst) ? one : worst), 'admitted');
}

/** A denial has the status 403. If nothing is denied, a later attempt may succeed: 503. */
function refusalOf(refused: readonly Decided[], of: number): ReviewAnswer {
  const denied = refused.some(
    ({ decision }) => 'length' in decision && ['denied', 'failed'].includes(worstOf(decision)),
  );
  const head = `${refused.length} of ${of} image${of === 1 ? '' : 's'} may not run`;
  const texts = refused.map(describe);
  let message = head;
  let shown = 0;
  for (const text of texts) {
    if (shown > 0 && message.length + text.length > longestMessage - 200) break;
    message += `\n${text}`;
    shown += 1;
  }
  if (shown < texts.length) message += `\nand ${texts.length - shown} more`;
  return denied ? refusal(403, 'Forbidden', message) : refusal(503, 'ServiceUnavailable', message);
}

function describe({ image, decision }: Decided): string {
  const head = `${image.object} (${image.reference})`;
  if (!('length' in decision)) return `${head}: undecided: ${decision.message}`;
  return decision
    .filter((one) => one.decision !== 'admitted')
    .map((one) => {
      const { verdict, error, platform, advice } = one;
      const where = decision.length > 1 && platform !== undefined ? ` for ${platform}` : '';
      if (verdict === undefined)
        return `${head}: ${one.decision}${where}: ${error === undefined ? one.code : `${error.attempted} ${error.on}: ${reasonAndFix(error)} [${error.code}]`}`;
      const tree = explainReason(verdict.reasons).trimEnd();
      const next = advice === undefined ? '' : `\n  ${advice}`;
      return `${head}: ${one.decision}${where} [${one.code}]\n${tree}${next}\n  verdict ${verdict.id}`;
    })
    .join('\n');
}

function auditOf(decided: readonly Decided[], policy: TrustPolicy): Readonly<Record<string, string>> {
  const lines = new Set(
    decided.flatMap(({ image, decision }) =>
      'length' in decision
        ? decision.map((one) => `${one.verdict?.id ?? one.code} ${one.decision} ${image.reference}`)
        : [`${decision.code} undecided ${image.reference}`],
    ),
  );
  return {
    verdicts: [...lines].join('\n').slice(0, longestAudit),
    'policy-revision': policy.revision,
  };
}

function verdictsOf(
  decided: readonly Decided[],
): ReadonlyMap<string, readonly NonNullable<GateImage['verdict']>[]> {
  return new Map(
    decided.map(({ image, decision }) => [
      image.reference,
      'length' in decision ? decision.flatMap(({ verdict }) => verdict ?? []) : [],
    ]),
  );
}

/** Returns a warning for each image that is admitted without any proof. */
function looseWarnings(decided: readonly Decided[]): readonly string[] {
  const loose = decided.filter(
    ({ decision }) => 'length' in decision && decision.some(({ verdict }) => verdict?.unverified === true),
  );
  return [...new Set(loose.map(({ image }) => `${image.reference} is admitted without proof`))];
}

/**
 * Replaces each tag by the tag with the digest that was decided about. For several platforms, it is the
 * digest of their index. Rules by tag do not match a reference with a digest (`patternMatches`): an image
 * that only such a rule admits keeps its tag.
 * @returns `unanswered`: images that may neither keep their tags nor get digests, because nobody knows what
 * the policy says about the digest
 */
async function digestPatch(
  decided: readonly Decided[],
  policy: TrustPolicy,
  review: ExaminedReview,
  context: DecideReviewContext,
): Promise<Pick<ReviewAnswer, 'patch' | 'warnings'> & { readonly unanswered: readonly Decided[] }> {
  const pinned = decided.flatMap(({ image, decision }) => {
    const reference = withDigest(image.reference, 'length' in decision ? decision[0]?.digest : undefined);
    return reference === undefined ? [] : [{ ...image, reference, written: image.reference }];
  });
  const again = await decideAll(pinned, policy, review, context);
  const isDenied = ({ decision }: Decided): boolean => 'length' in decision && worstOf(decision) === 'denied';
  const kept = pinned.filter((_, index) => again[index] !== undefined && isDenied(again[index]));
  const unanswered = again.filter((one) => !isAdmitted(one.decision) && !isDenied(one));
  const patch = pinned
    .filter((one) => !kept.includes(one))
    .map(({ path, reference }): PatchOperation => ({ op: 'replace', path: pointer(path), value: reference }));
  const warnings = [
    ...new Set(
      kept.map(({ written }) => `${written} keeps its tag, because the policy admits it only by its tag`),
    ),
  ];
  return { unanswered, ...(patch.length > 0 && { patch }), ...(warnings.length > 0 && { warnings }) };
}

/** Returns undefined for a reference that already has a digest, or that gets no digest. */
function withDigest(reference: string, digest: string | undefined): string | undefined {
  const { tag, digest: written } = parseReference(reference);
  if (written !== undefined || digest === undefined) return undefined;
  const tagged = tag === undefined || reference.endsWith(`:${tag}`) ? reference : `${reference}:${tag}`;
  return `${tagged}@${digest}`;
}
