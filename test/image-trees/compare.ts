import { explanations } from './explanations.ts';
import type { Difference } from './explanations.ts';

/** The differences between one tree and another. */
export interface Comparison {
  /** Unexpected differences, one line each. */
  readonly unexplained: readonly string[];
  /** The reasons for the expected differences, once each. */
  readonly explained: readonly string[];
}

/**
 * Compares two trees, entry by entry.
 * @param peer the program of the other tree, or `folder`: our other form
 * @param image its name in the matrix
 */
export function compareTrees(
  peer: string,
  image: string,
  ours: readonly string[],
  theirs: readonly string[],
): Comparison {
  const explained = new Set<string>();
  const unexplained: string[] = [];
  for (const difference of differencesOf(ours, theirs)) {
    const found = explanations.find((each) => each.peers.includes(peer) && each.explains(image, difference));
    if (found === undefined)
      unexplained.push(
        `${difference.path}: ours ${difference.ours ?? 'none'}; theirs ${difference.theirs ?? 'none'}`,
      );
    else explained.add(found.why);
  }
  return { unexplained, explained: [...explained] };
}

function differencesOf(ours: readonly string[], theirs: readonly string[]): readonly Difference[] {
  const [refusal] = theirs;
  if (theirs.length === 1 && refusal?.startsWith('refused: ') === true)
    return [{ path: '', ours: 'a tree', theirs: refusal }];
  const [one, other] = [ours, theirs].map((lines) => new Map(lines.map(entryOf)));
  return [...new Set([...(one?.keys() ?? []), ...(other?.keys() ?? [])])].flatMap((path) => {
    const [left, right] = [one?.get(path), other?.get(path)];
    return left === right ? [] : [{ path, ours: left, theirs: right }];
  });
}

/** A line of a tree is a JSON string, and what is known about the entry. */
function entryOf(line: string): readonly [path: string, facts: string] {
  const end = line.indexOf('" ', 1) + 1;
  return [line.slice(0, end), line.slice(end + 1)];
}
