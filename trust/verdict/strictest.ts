import type { Dossier, Verdict } from '../findings/types.ts';

/** A verdict and the evidence that it is about. */
export interface JudgedManifest {
  readonly verdict: Verdict;
  readonly dossier: Dossier;
}

const strictestFirst: readonly Verdict['outcome'][] = ['deny', 'undecided', 'admit'];

/**
 * Returns the verdict on an image from the verdicts on its manifests, of which there is at least one: the
 * first that denies it, else the first that is undecided, else the first.
 */
export function strictestOf(
  judged: readonly JudgedManifest[],
): JudgedManifest & { readonly others: readonly Dossier[] } {
  const rank = ({ verdict }: JudgedManifest): number => strictestFirst.indexOf(verdict.outcome);
  const strictest = judged.reduce((before, next) => (rank(next) < rank(before) ? next : before));
  return { ...strictest, others: judged.filter((one) => one !== strictest).map(({ dossier }) => dossier) };
}
