import type { Document, JsonSchema, PathSegment, Problem } from './types.ts';
import { sortProblems } from './problems.ts';
import { faultsOf } from './validate.ts';

/** With more problems than this, a document is not checked further: a reader fixes these first. */
const mostFaults = 100;
/** Each round removes a part or the part around it, so that more rounds than this have no use. */
const mostRounds = 64;

/** The parts to leave out of a value. `out` says that this part itself is left out. */
interface Removal {
  out: boolean;
  readonly parts: Map<PathSegment, Removal>;
}

/**
 * Checks a document like `validate`, and also returns what is left of it without the parts that have a
 * problem. Checks that need a valid shape can continue with `rest`: its value is valid, and its positions and
 * written paths are those of the file. `rest` is absent if nothing valid is left, and if there are more than
 * 100 problems.
 * @param whole top-level fields to which other parts refer: there is no `rest` if one of them has a problem
 */
export function validateParts(
  document: Document,
  schema: JsonSchema,
  whole: readonly PathSegment[] = [],
): { readonly problems: readonly Problem[]; readonly rest?: Document } {
  const first = faultsOf(document, schema, mostFaults + 1);
  if (first.length === 0) return { problems: [], rest: document };
  const problems = sortProblems(first.slice(0, mostFaults).map(({ problem }) => problem));
  const last = { problems: problems.map(hiding) };
  if (
    first.length > mostFaults ||
    first.some(({ at: [field] }) => field !== undefined && whole.includes(field))
  )
    return last;
  const root: Removal = { out: false, parts: new Map() };
  let [rest, faults] = [document, first];
  for (let round = 0; round < mostRounds; round++) {
    // All paths of a round are paths of the same value: none is left out before each has its node.
    const nodes = faults.map(({ at }) => nodeAt(root, writtenPath(root, at)));
    for (const node of nodes) node.out = true;
    if (root.out) return last;
    rest = withoutParts(document, root);
    faults = faultsOf(rest, schema, mostFaults);
    if (faults.length === 0) return { problems, rest };
  }
  return last;
}

const hiding = (problem: Problem): Problem => ({ ...problem, hidesOthers: true });

function withoutParts(document: Document, root: Removal): Document {
  return {
    value: reduced(document.value, root),
    file: document.file,
    positionOf: (path, part) => document.positionOf(writtenPath(root, path), part),
    writtenPath: (path) => writtenPath(root, path),
  };
}

/** Returns the value without the removed parts. Copies only what changes: aliases share their values. */
function reduced(value: unknown, removal: Removal): unknown {
  if (removal.parts.size === 0 || typeof value !== 'object' || value === null) return value;
  const kept = <Key extends PathSegment>(
    entries: readonly (readonly [Key, unknown])[],
  ): (readonly [Key, unknown])[] =>
    entries.flatMap(([key, one]) => {
      const part = removal.parts.get(key);
      if (part === undefined) return [[key, one] as const];
      return part.out ? [] : [[key, reduced(one, part)] as const];
    });
  return Array.isArray(value)
    ? kept([...value.entries()]).map(([, one]) => one)
    : Object.fromEntries(kept(Object.entries(value)));
}

/** Returns the path in the whole value for a path in the reduced value. */
function writtenPath(root: Removal, path: readonly PathSegment[]): readonly PathSegment[] {
  let node: Removal | undefined = root;
  return path.map((segment) => {
    let key = segment;
    if (typeof key === 'number') {
      const gone = [...(node?.parts ?? [])].flatMap(([at, { out }]) =>
        out && typeof at === 'number' ? [at] : [],
      );
      for (const at of gone.sort((a, b) => a - b)) if (at <= key) key += 1;
    }
    node = node?.parts.get(key);
    return key;
  });
}

function nodeAt(root: Removal, path: readonly PathSegment[]): Removal {
  let node = root;
  for (const key of path) {
    const next = node.parts.get(key) ?? { out: false, parts: new Map<PathSegment, Removal>() };
    node.parts.set(key, next);
    node = next;
  }
  return node;
}
