/** Fields whose keys callers choose: labels, annotations, and runtime-specific information. */
const free = new Set(['labels', 'annotations', 'info', 'unified']);

/** Returns the paths of all fields of a JSON value, such as `a.b[].c`, without keys that callers choose. */
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
