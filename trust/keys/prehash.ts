import type * as Prehashed from './prehashed.ts';

let loaded: typeof Prehashed | undefined;

/**
 * Loads the verification of Ed25519ph and of signatures over digests, which Node's crypto lacks. The
 * JavaScript module is large, so only policies and commands that may need it load it, and they load it first
 * because verification is synchronous.
 */
export async function loadPrehashed(): Promise<void> {
  loaded ??= await import('./prehashed.ts');
}

/** Returns the module that {@link loadPrehashed} has loaded, or undefined before. */
export function prehashed(): typeof Prehashed | undefined {
  return loaded;
}
