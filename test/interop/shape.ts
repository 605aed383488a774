/** Names that callers chose: labels, annotations, and what a runtime tells beyond the contract. */
const free = new Set(['labels', 'annotations', 'info', 'unified']);

/** The paths of everything that a JSON value holds, `a.b[].c`; what callers named is left out. */
export function shapeOf(value: unknown): readonly string[] {
  const paths = new Set<string>();
  const visit = (part: unknown, path: string): void => {
    if (Array.isArray(part)) for (const one of part) visit(one, `${path}[]`);
    else if (typeof part === 'object' && part !== null) {
      for (const [key, below] of Object.entries(part)) {
        const name = path === '' ? key : `${path}.${key}`;
        paths.add(name);
        if (!free.has(key)) visit(below, name);
      }
    }
  };
  visit(value, '');
  return [...paths].sort();
}
