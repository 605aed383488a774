/** Counts the questions in progress, in total and of each asker. */
export interface QuestionLimits {
  /** Returns whether the asker may not ask now. */
  isReached(asker: string): boolean;
  began(asker: string): void;
  ended(asker: string): void;
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
  const ofAsker = new Map<string, number>();
  let waiting = 0;
  const count = (asker: string, change: 1 | -1): void => {
    waiting += change;
    const now = (ofAsker.get(asker) ?? 0) + change;
    if (now === 0) ofAsker.delete(asker);
    else ofAsker.set(asker, now);
  };
  return {
    isReached: (asker) => waiting >= most || (ofAsker.get(asker) ?? 0) >= mostOfAsker,
    began: (asker) => count(asker, 1),
    ended: (asker) => count(asker, -1),
  };
}
