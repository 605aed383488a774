/**
 * Returns how many parts can each be given a different signer: the size of a maximum matching between the
 * parts and the signers that satisfy them (augmenting paths; Kuhn's algorithm). A part without a known signer
 * gets none.
 */
export function distinctSigners(parts: readonly (readonly string[])[]): number {
  const partOf = new Map<string, number>();
  const place = (part: number, tried: Set<string>): boolean => {
    for (const signer of parts[part] ?? []) {
      if (tried.has(signer)) continue;
      tried.add(signer);
      const holder = partOf.get(signer);
      if (holder === undefined || place(holder, tried)) {
        partOf.set(signer, part);
        return true;
      }
    }
    return false;
  };
  return parts.filter((_, part) => place(part, new Set())).length;
}
