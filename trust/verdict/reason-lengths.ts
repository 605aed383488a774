import type { Reason } from '../findings/types.ts';

/** In UTF-16 units. A sentence for a person is shorter, and a list of a usual policy's patterns too. */
export const longestText = 4096;

/**
 * Returns the reason with no text longer than {@link longestText}. Texts may quote evidence: a payload of a
 * megabyte can name ten thousand digests, and is quoted for each key of the policy. Verdicts are kept in
 * memory and written to the log.
 */
export function withShortTexts(reason: Reason): Reason {
  const { text, children } = reason;
  return {
    ...reason,
    text: text.length > longestText ? copyOf(`${text.slice(0, longestText - 1)}…`) : text,
    ...(children === undefined ? {} : { children: children.map(withShortTexts) }),
  };
}

/** A slice would keep the whole text in memory, as long as the verdict is kept. */
const copyOf = (text: string): string => Buffer.from(text).toString();
