import type { SignerNames } from '../findings/evaluation.ts';

/**
 * Returns one name for each signer, the same wherever the signer occurs: signers that share a name are one
 * signer, also over a third one (disjoint sets).
 */
export function oneNameEach(parts: readonly (readonly SignerNames[])[]): readonly (readonly string[])[] {
  const parents = new Map<string, string>();
  const rootOf = (name: string): string => {
    let root = name;
    for (let parent = parents.get(root); parent !== undefined; parent = parents.get(root)) root = parent;
    return root;
  };
  for (const [first = '', ...others] of parts.flat())
    for (const other of others) {
      const [from, to] = [rootOf(other), rootOf(first)];
      if (from !== to) parents.set(from, to);
    }
  return parts.map((signers) => [...new Set(signers.map(([name = '']) => rootOf(name)))]);
}
