import { largest } from '../../base/lists/index.ts';
import type { Document, Position, Problem } from '../../base/schema/index.ts';
import { valueOf } from './profile-document.ts';

/** The maximum depth of parents. It bounds the work that one document can cause. */
const MAX_DEPTH = 64;

/**
 * Returns the names of profiles that extend themselves, or whose chain of parents is too long. Each loop is
 * reported once.
 */
export function cycles(byName: ReadonlyMap<string, Document>, problems: Problem[]): ReadonlySet<string> {
  const parentsOf = (name: string): string[] => {
    const document = byName.get(name);
    return document === undefined
      ? []
      : (valueOf(document).extends ?? []).map((parent) =>
          typeof parent === 'string' ? parent : parent.profile,
        );
  };
  const looped = new Set<string>();
  const depths = new Map<string, number>();
  const tooDeep = (name: string): void => {
    const position = byName.get(name)?.positionOf(['extends'], 'key') as Position;
    problems.push({
      position,
      path: 'extends',
      message: `its parents are more than ${MAX_DEPTH} deep`,
      fix: 'extend fewer profiles',
    });
  };
  const walk = (start: string): void => {
    // This uses an explicit stack, because a chain of a thousand parents would overflow the call stack.
    const trail: { name: string; next: number }[] = [{ name: start, next: 0 }];
    const on = new Map([[start, 0]]);
    for (let top = trail.at(-1); top !== undefined; top = trail.at(-1)) {
      const at = top.next++;
      const parent = parentsOf(top.name)[at];
      if (parent === undefined) {
        const depth = 1 + Math.max(0, largest(parentsOf(top.name).map((name) => depths.get(name) ?? 0)));
        depths.set(top.name, depth);
        if (depth === MAX_DEPTH + 1) tooDeep(top.name);
        if (depth > MAX_DEPTH) looped.add(top.name);
        on.delete(top.name);
        trail.pop();
        continue;
      }
      const back = on.get(parent);
      if (back !== undefined) {
        const loop = trail.slice(back).map(({ name }) => name);
        for (const name of loop) looped.add(name);
        const position = byName.get(top.name)?.positionOf(['extends', at]) as Position;
        const message = `${top.name} extends itself: ${[...loop, parent].join(' → ')}`;
        problems.push({ position, path: `extends[${at}]`, message, fix: 'remove one of them' });
      } else if (byName.has(parent) && !depths.has(parent)) {
        on.set(parent, trail.length);
        trail.push({ name: parent, next: 0 });
      }
    }
  };
  for (const name of byName.keys()) if (!depths.has(name)) walk(name);
  return looped;
}
