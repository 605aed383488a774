import type * as Prehashed from './prehashed.ts';

let loaded: typeof Prehashed | undefined;

/**
 * Loads the verification of Ed25519ph and of signatures over digests, which Node's crypto lacks. It is JavaScript and large, so only
 * policies and commands that may need it do; and verifying is synchronous, so this comes first.
 */
export async function loadPrehashed(): Promise<void> {
  loaded ??= await import('./prehashed.ts');
}

/** What {@link loadPrehashed} has loaded; undefined before. */
export function prehashed(): typeof Prehashed | undefined {
  return loaded;
}
