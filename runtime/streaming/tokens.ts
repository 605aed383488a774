import { randomBytes } from 'node:crypto';

/** How long a URL waits for its client. */
export const tokenLifetimeMs = 60_000;
/** The maximum number of URLs that wait at the same time. */
export const mostTokens = 1_000;

/**
 * Single-use tokens for values, limited in number and lifetime. A token has 128 bits, so that it cannot be
 * guessed.
 */
export interface Tokens<Value> {
  /** Returns undefined when too many tokens wait. */
  mint(value: Value): string | undefined;
  /**
   * Removes the token and returns its value, whatever the value is then used for. Returns undefined when the
   * token does not exist or has expired.
   */
  take(token: string): Value | undefined;
  /** Returns the values whose tokens are still valid. */
  waiting(): Value[];
}

export function createTokens<Value>(
  now: () => number,
  limits: { readonly most: number; readonly lifetimeMs: number } = {
    most: mostTokens,
    lifetimeMs: tokenLifetimeMs,
  },
): Tokens<Value> {
  // In order of their end, because all have the same lifetime.
  const open = new Map<string, { readonly value: Value; readonly until: number }>();
  const sweep = (): void => {
    for (const [token, { until }] of open) {
      if (until > now()) return;
      open.delete(token);
    }
  };
  return {
    mint: (value) => {
      sweep();
      if (open.size >= limits.most) return undefined;
      const token = randomBytes(16).toString('base64url');
      open.set(token, { value, until: now() + limits.lifetimeMs });
      return token;
    },
    take: (token) => {
      sweep();
      const found = open.get(token);
      open.delete(token);
      return found?.value;
    },
    waiting: () => {
      sweep();
      return [...open.values()].map(({ value }) => value);
    },
  };
}
