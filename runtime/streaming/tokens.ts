import { randomBytes } from 'node:crypto';

/** How long a URL may wait for its client. */
export const tokenLifetimeMs = 60_000;
/** How many URLs may wait at once. */
export const mostTokens = 1_000;

/** Single-use names of what they stand for, bounded in number and time. 128 bits: nobody guesses one. */
export interface Tokens<Value> {
  /** Undefined when too many wait. */
  mint(value: Value): string | undefined;
  /** Takes it away, whatever it is then used for. Undefined when there is none, or no more. */
  take(token: string): Value | undefined;
  /** Those that may still be taken. */
  waiting(): Value[];
}

export function createTokens<Value>(
  now: () => number,
  limits: { readonly most: number; readonly lifetimeMs: number } = { most: mostTokens, lifetimeMs: tokenLifetimeMs },
): Tokens<Value> {
  // In order of their end: all live equally long.
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
