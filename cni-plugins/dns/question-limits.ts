/**
 * Bounds the questions in progress, in total and of each asker. At the total, a question takes the place of
 * the oldest one of the asker with the most, as long as that asker keeps more: a few askers with many
 * questions must not keep all others out.
 */
export interface QuestionLimits {
  /** Returns whether the asker may not ask now. */
  isReached(asker: string): boolean;
  /**
   * Counts a question of an asker that may ask.
   * @param end ends the question in favour of another asker's; it must not fail
   * @returns a function for the end of the question; further calls do nothing
   */
  began(asker: string, end: () => void): () => void;
}

interface Question {
  readonly end: () => void;
}

/**
 * Creates a count of no questions.
 * @param most questions in progress in total
 * @param mostOfAsker questions in progress of one asker
 */
export function createQuestionLimits({
  most,
  mostOfAsker,
}: {
  readonly most: number;
  readonly mostOfAsker: number;
}): QuestionLimits {
  /** The questions of each asker, the oldest first. */
  const ofAsker = new Map<string, Set<Question>>();
  let inProgress = 0;

  const countOf = (asker: string): number => ofAsker.get(asker)?.size ?? 0;
  const ended = (asker: string, question: Question): void => {
    const own = ofAsker.get(asker);
    if (own?.delete(question) !== true) return;
    inProgress -= 1;
    if (own.size === 0) ofAsker.delete(asker);
  };
  /** Returns the asker that gives up a question for one of `asker`. */
  const giverFor = (asker: string): string | undefined => {
    let giver: string | undefined;
    let size = countOf(asker) + 1;
    for (const [name, { size: count }] of ofAsker) if (count > size) [giver, size] = [name, count];
    return giver;
  };

  return {
    isReached: (asker) =>
      countOf(asker) >= mostOfAsker || (inProgress >= most && giverFor(asker) === undefined),
    began(asker, end) {
      const giver = inProgress >= most ? giverFor(asker) : undefined;
      const [oldest] = (giver === undefined ? undefined : ofAsker.get(giver)) ?? [];
      if (giver !== undefined && oldest !== undefined) {
        ended(giver, oldest);
        oldest.end();
      }
      const question = { end };
      const own = ofAsker.get(asker) ?? new Set<Question>();
      ofAsker.set(asker, own.add(question));
      inProgress += 1;
      return () => ended(asker, question);
    },
  };
}
