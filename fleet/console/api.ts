/** A verdict of a node, as the API lists it. */
export type { FleetVerdict as Verdict } from '../store/api.types.ts';

/** A row of a verdict log, as the node wrote it. */
export interface Row {
  readonly seq: number;
  readonly entry: string;
  readonly evidence: string;
  readonly hash: string;
}

/** The server refuses without a token. */
export class TokenMissing extends Error {}

const place = 'portcullis-token';
/** The sentence about a token that names no reader. */
export const refusal = 'The aggregator refuses this token.';
/** The tokens that a browser can send. The aggregator refuses all others. */
const tokenPattern = /^[\x21-\x7e]{16,4096}$/u;

/** Keeps the token until the tab is closed. */
export function keepToken(token: string): void {
  sessionStorage.setItem(place, token);
}

/** Reports whether a token was entered in this tab. */
export const hasToken = (): boolean => sessionStorage.getItem(place) !== null;

/**
 * Asks the API.
 * @param path below `/v1/`
 * @throws TokenMissing · Error with a sentence
 */
export async function ask<T>(path: string, signal?: AbortSignal): Promise<T> {
  const token = sessionStorage.getItem(place);
  if (token !== null && !tokenPattern.test(token)) throw new TokenMissing(refusal);
  const answer = await fetch(`/v1/${path}`, {
    headers: token === null ? {} : { authorization: `Bearer ${token}` },
    cache: 'no-store',
    ...(signal !== undefined && { signal }),
  });
  if (answer.status === 401 || answer.status === 403) throw new TokenMissing(refusal);
  if (answer.status === 404) throw new Error('The aggregator does not know this.');
  if (!answer.ok) throw new Error(await refusalOf(answer));
  return (await answer.json()) as T;
}

/** Returns the reason that the aggregator gives, and its status if it gives none. */
async function refusalOf(answer: Response): Promise<string> {
  const status = `The aggregator answered ${answer.status}`;
  try {
    const { error } = (await answer.json()) as {
      readonly error?: { readonly why?: string; readonly fix?: string };
    };
    if (error?.why === undefined) return `${status}.`;
    return `${status}: ${error.why}${error.fix === undefined ? '' : `; ${error.fix}`}.`;
  } catch {
    return `${status}.`;
  }
}

/** Writes a query. Empty values are left out. */
export function queryOf(values: Readonly<Record<string, string>>): string {
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== ''));
  return query.toString();
}
