import { canonicalJson } from '../json/canonical-json.ts';
import type { Reason, Verdict } from '../findings/types.ts';

/** Returns the text whose digest is the verdict's id. */
export function verdictText(verdict: Verdict): string {
  const { decidedAt: _decidedAt, id: _id, ...rest } = verdict;
  return canonicalJson(rest);
}

/** Returns the bytes of a whole verdict, as replays compare them. */
export function verdictBytes(verdict: Verdict): string {
  return canonicalJson(verdict);
}

/** Returns the text of a verdict without the sentences of its reasons: their codes and order stay. */
export function decisionText(verdict: Verdict): string {
  return verdictText({ ...verdict, reasons: withoutSentences(verdict.reasons) });
}

function withoutSentences({ text: _text, children, ...rest }: Reason): Reason {
  return { ...rest, text: '', ...(children !== undefined && { children: children.map(withoutSentences) }) };
}
