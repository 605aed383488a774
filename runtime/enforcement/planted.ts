import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Reason, Verdict } from '../../trust/index.ts';
import type { ImageStore } from '../images/types.ts';
import { found } from '../findings/finding-codes.ts';
import type { Found } from '../findings/finding-codes.ts';

/** Two images in a registry: one that the policy must admit, and one that it must refuse. */
export interface PlantedPair {
  /** An image that is signed as the policy requires. */
  readonly admitted: string;
  /** An image that is not signed. */
  readonly refused: string;
  /** The namespace in which both are tested. */
  readonly namespace: string;
}

interface Deps {
  readonly images: Pick<ImageStore, 'tryPull'>;
  /**
   * Returns the mirror that replaces the registry of this reference, if the registry itself is never
   * contacted.
   */
  readonly onlyMirror: (reference: string) => string | undefined;
}

type Answer =
  | { readonly kind: 'admitted'; readonly verdict: Verdict }
  /**
   * `looked`: a rule with a requirement refused it, so evidence was judged. `unsigned`: there was no
   * evidence.
   */
  | { readonly kind: 'denied'; readonly looked: boolean; readonly unsigned: boolean; readonly why: string }
  | { readonly kind: 'unknown'; readonly why: string };

/** Codes of reasons for which no artifact was judged. */
const withoutArtifact = /^TRUST_(DENIED|RULE_|REQUIREMENT_)/;

/**
 * Tests the pair with the checks of PullImage and CreateContainer. Returns no finding when the unsigned image
 * was refused and the signed image admitted.
 */
export async function tryPair(
  pair: PlantedPair,
  parts: Deps,
  signal: AbortSignal,
): Promise<readonly Found[]> {
  const ask = (reference: string): Promise<Answer> => answerOf(parts, reference, pair.namespace, signal);
  const refused = await ask(pair.refused);
  const admitted = await ask(pair.admitted);
  return judgePair(pair, admitted, refused, parts.onlyMirror(pair.admitted));
}

function judgePair(
  pair: PlantedPair,
  admitted: Answer,
  refused: Answer,
  mirror: string | undefined,
): readonly Found[] {
  const findings: Found[] = [];
  const note = (code: Found['code'], on: string, detail?: string): void =>
    void findings.push(found(code, on, detail));
  if (refused.kind === 'admitted')
    note(
      sameImage(admitted, refused) ? 'PLANTED_SAME_IMAGE' : 'PLANTED_UNSIGNED_ADMITTED',
      pair.refused,
      `verdict ${refused.verdict.id}${refused.verdict.unverified ? ', unverified' : ''}`,
    );
  if (refused.kind === 'denied' && !refused.looked) note('PLANTED_NO_RULE', pair.refused, refused.why);
  if (refused.kind === 'unknown') note('PLANTED_NOT_DECIDED', pair.refused, refused.why);
  if (admitted.kind === 'admitted' && admitted.verdict.unverified)
    note('PLANTED_SIGNED_UNVERIFIED', pair.admitted, `verdict ${admitted.verdict.id}`);
  if (admitted.kind === 'unknown') note('PLANTED_NOT_DECIDED', pair.admitted, admitted.why);
  if (admitted.kind === 'denied' && !admitted.looked) note('PLANTED_NO_RULE', pair.admitted, admitted.why);
  if (admitted.kind !== 'denied' || !admitted.looked) return findings;
  note(
    refused.kind === 'denied' ? 'VERIFIER_REFUSES_ALL' : 'PLANTED_SIGNED_REFUSED',
    pair.admitted,
    admitted.why,
  );
  if (mirror !== undefined && admitted.unsigned) note('MIRROR_LACKS_EVIDENCE', mirror, pair.admitted);
  return findings;
}

function sameImage(one: Answer, other: Answer): boolean {
  return (
    one.kind === 'admitted' &&
    other.kind === 'admitted' &&
    one.verdict.manifestDigest === other.verdict.manifestDigest &&
    !one.verdict.unverified
  );
}

async function answerOf(
  { images }: Deps,
  reference: string,
  namespace: string,
  signal: AbortSignal,
): Promise<Answer> {
  try {
    return { kind: 'admitted', verdict: await images.tryPull({ reference, namespace, signal }) };
  } catch (thrown) {
    if (!isPortcullisError(thrown)) return { kind: 'unknown', why: reasonOf(thrown) };
    const why = `${thrown.code}: ${thrown.failure.why}`;
    if (thrown.code !== 'IMAGES_DENIED') return { kind: 'unknown', why };
    const reasons = thrown.failure.details?.['reasons'] as Reason | undefined;
    const codes = reasons === undefined ? [] : codesOf(reasons);
    return {
      kind: 'denied',
      looked: codes.includes('TRUST_RULE_UNSATISFIED'),
      unsigned: codes.every((code) => withoutArtifact.test(code)),
      why,
    };
  }
}

function codesOf({ code, children = [] }: Reason): readonly string[] {
  return [...(code === undefined ? [] : [code]), ...children.flatMap(codesOf)];
}
