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

/**
 * Returns the result of `act`, or undefined if `act` fails with an error that `isTolerated` accepts. A
 * rejected promise counts as a failure.
 * @throws every other error of `act`
 */
export function tolerate<T>(
  isTolerated: (thrown: unknown) => boolean,
  act: () => Promise<T>,
): Promise<T | undefined>;
export function tolerate<T>(isTolerated: (thrown: unknown) => boolean, act: () => T): T | undefined;
export function tolerate(isTolerated: (thrown: unknown) => boolean, act: () => unknown): unknown {
  const judge = (thrown: unknown): undefined => {
    if (!isTolerated(thrown)) throw thrown;
  };
  try {
    const result = act();
    return result instanceof Promise ? result.catch(judge) : result;
  } catch (thrown) {
    return judge(thrown);
  }
}

/**
 * Returns the result of `act`. If `act` throws, or its promise is rejected, the error is the one that
 * `failure` returns.
 * @throws the result of `failure`
 */
export function orThrow<T>(act: () => T, failure: (thrown: unknown) => Error): T {
  try {
    const result = act();
    if (!(result instanceof Promise)) return result;
    return result.catch((thrown: unknown) => {
      throw failure(thrown);
    }) as T;
  } catch (thrown) {
    throw failure(thrown);
  }
}
