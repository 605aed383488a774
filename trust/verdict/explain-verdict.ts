import type { Reason, Verdict } from '../findings/types.ts';
import { describeException } from './exceptions.ts';

/**
 * Returns the verdict for display: its outcome and the tree of reasons, with `+` for reasons that counted
 * towards admission and `-` for others. Ends with a newline.
 */
export function explainVerdict(verdict: Verdict): string {
  const facts = [
    `verdict ${verdict.id}`,
    `policy  ${verdict.policyRevision}`,
    ...(verdict.manifestDigest === verdict.digest
      ? []
      : [`platform ${verdict.platform.os}/${verdict.platform.architecture}: ${verdict.manifestDigest}`]),
    ...(verdict.unverified && verdict.exceptions === undefined
      ? ['UNVERIFIED: a rule allows this image without any proof']
      : []),
    ...(verdict.exceptions ?? []).map(describeException),
    ...(verdict.validUntil === undefined ? [] : [`valid until ${verdict.validUntil}`]),
    ...verdict.ceilings.map(({ rule, ceiling }) => `ceiling ${ceiling} (rule ${rule})`),
  ];
  return `${explainReason(verdict.reasons)}${facts.map((fact) => `  ${printable(fact)}\n`).join('')}`;
}

/** Returns a tree of reasons, one node per line, indented by two blanks per level. Ends with a newline. */
export function explainReason(reason: Reason, depth = 0): string {
  const line = `${'  '.repeat(depth)}${reason.counted ? '+' : '-'} ${printable(reason.text)}\n`;
  return line + (reason.children ?? []).map((child) => explainReason(child, depth + 1)).join('');
}

/**
 * Removes control characters: texts hold names that registries chose, and their control characters must not
 * reach a terminal.
 */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '?');
}
