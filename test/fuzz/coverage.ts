import { Session } from 'node:inspector';
import { join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

interface Range {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly count: number;
}
interface ScriptCoverage {
  readonly scriptId: string;
  readonly url: string;
  readonly functions: readonly { readonly ranges: readonly Range[] }[];
}
type Interval = readonly [start: number, end: number];

export interface Coverage {
  /**
   * Returns how many blocks ran since the last call that had never run before. Unless they are kept, they
   * count as new again the next time.
   */
  take(keep: boolean): number;
  /** Counts every block as new again. */
  forget(): void;
  /** Ends the recording. */
  close(): void;
}

const root = join(import.meta.dirname, '..', '..');
const engine = `${import.meta.dirname}${sep}`;

/**
 * Records which blocks of the product's own sources run in this thread, by V8's precise block coverage
 * (Chrome DevTools Protocol, Profiler domain). V8 merges a block with its parent where both ran equally
 * often, so the borders of reported blocks change from call to call: it keeps the ranges of source that never
 * ran instead of blocks.
 */
export function openCoverage(): Coverage {
  const session = new Session();
  session.connect();
  const post = (method: string, parameters?: object): unknown => {
    let answer: unknown;
    // Profiler commands are answered before post returns.
    session.post(method, parameters, (error, result) => {
      if (error !== null) throw error;
      answer = result;
    });
    return answer;
  };
  post('Profiler.enable');
  post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  // For each function of each script: the ranges that have not run yet.
  const missing = new Map<string, Interval[]>();
  const ours = new Map<string, boolean>();
  return {
    take(keep) {
      const { result } = post('Profiler.takePreciseCoverage') as {
        readonly result: readonly ScriptCoverage[];
      };
      let found = 0;
      for (const { scriptId, url, functions } of result) {
        let wanted = ours.get(url);
        if (wanted === undefined) ours.set(url, (wanted = isProduct(url)));
        if (!wanted) continue;
        for (const { ranges } of functions) {
          const [whole] = ranges;
          if (whole === undefined) continue;
          const key = `${scriptId}:${whole.startOffset}`;
          const before = missing.get(key) ?? [[whole.startOffset, whole.endOffset]];
          if (before.length === 0) continue;
          const after = ranThrough(ranges).reduce(without, before);
          if (extent(after) < extent(before)) found++;
          if (keep) missing.set(key, after);
        }
      }
      return found;
    },
    forget: () => missing.clear(),
    close() {
      session.disconnect();
    },
  };
}

function isProduct(url: string): boolean {
  if (!url.startsWith('file:')) return false;
  const path = fileURLToPath(url);
  return (
    path.startsWith(`${root}${sep}`) && !path.startsWith(engine) && !path.includes(`${sep}node_modules${sep}`)
  );
}

/** Returns the ranges that ran: ranges are nested, and an inner one overrides its outer one. */
function ranThrough(ranges: readonly Range[]): Interval[] {
  const edges = ranges.flatMap((range, depth) => [
    { at: range.startOffset, depth, range, opens: true },
    { at: range.endOffset, depth, range, opens: false },
  ]);
  edges.sort(
    (a, b) =>
      a.at - b.at || Number(a.opens) - Number(b.opens) || (a.opens ? a.depth - b.depth : b.depth - a.depth),
  );
  const open: Range[] = [];
  const ran: Interval[] = [];
  let from = 0;
  for (const { at, range, opens } of edges) {
    const inner = open.at(-1);
    if (inner !== undefined && inner.count > 0 && at > from) ran.push([from, at]);
    if (opens) open.push(range);
    else open.splice(open.lastIndexOf(range), 1);
    from = at;
  }
  return ran;
}

function without(stretches: readonly Interval[], [from, to]: Interval): Interval[] {
  return stretches.flatMap(([start, end]): Interval[] => {
    if (to <= start || end <= from) return [[start, end]];
    const left: Interval[] = [];
    if (start < from) left.push([start, from]);
    if (to < end) left.push([to, end]);
    return left;
  });
}

function extent(stretches: readonly Interval[]): number {
  return stretches.reduce((sum, [start, end]) => sum + end - start, 0);
}
