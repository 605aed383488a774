import { canonicalJson } from '../json/canonical-json.ts';
import type { Verdict } from '../findings/types.ts';

/** Returns the text whose digest is the verdict's id. */
export function verdictText(verdict: Verdict): string {
  const { decidedAt: _decidedAt, id: _id, ...rest } = verdict;
  return canonicalJson(rest);
}

/** Returns the bytes of a whole verdict, as replays compare them. */
export function verdictBytes(verdict: Verdict): string {
  return canonicalJson(verdict);
}
