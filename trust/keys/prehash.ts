/** What Node's crypto lacks, in JavaScript: large, so it is loaded only for policies and commands that may need it. */
type Prehashed = typeof import('./prehashed.ts');

let loaded: Prehashed | undefined;

/** Loads the verification of Ed25519ph and of signatures over digests. Verifying is synchronous, so this comes first. */
export async function loadPrehashed(): Promise<void> {
  loaded ??= await import('./prehashed.ts');
}

/** What {@link loadPrehashed} has loaded; undefined before. */
export function prehashed(): Prehashed | undefined {
  return loaded;
}
