/**
 * Returns the result of `act`, or undefined if it throws. Use it only where every failure means the same. A
 * rejected promise is not caught.
 */
export function attempt<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch {
    return undefined;
  }
}
