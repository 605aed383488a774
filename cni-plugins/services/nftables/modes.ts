import { usualSlots } from '../slots/sizes.ts';
import { emptyModeOf, firstMode, refuseMode } from './empty-modes.ts';
import type { EmptyMode } from './empty-modes.ts';
import type { Plan } from './plan.ts';
import { chainOf } from './rules.ts';
import type { Draw, Mode } from './rules.ts';

/**
 * The numbers of the modes that exist, which servers use them, and which server has a counter of its own. One
 * instance for each family.
 */

/**
 * Number of counters: this many virtual servers of a family are served exactly in turn, the others by random
 * draws with the same shares.
 */
const counters = 64;

export interface Modes {
  /**
   * Returns the mode for a plan. A mode without a chain gets the next number.
   * @param plan absent: the server has no destination for a connection
   * @param empty the mode of the server without any destination
   * @param former the previous number of the server: it keeps its counter
   */
  use(
    plan: Plan | undefined,
    empty: EmptyMode,
    former?: number,
  ): { readonly number: number; readonly made?: Mode };
  /** One more server uses an existing mode. */
  join(number: number): void;
  release(number: number): void;
  /** Records a mode that exists in the kernel. */
  adopt(number: number, mode: Mode): void;
  modeOf(number: number): Mode | undefined;
  /** Whether a server of this mode would get it again. Random draws give way to a counter that is free. */
  isKept(number: number): boolean;
  /** Returns the numbers and modes that no server uses, and forgets them. */
  takeUnused(): readonly (readonly [number: number, mode: Mode])[];
  all(): readonly (readonly [number: number, mode: Mode])[];
}

export function createModes(): Modes {
  const existing = new Map<number, { readonly mode: Mode; users: number }>();
  const numbers = new Map<string, number>();
  const holders = new Map<Draw, number>();
  let next = firstMode;

  const adopt = (number: number, mode: Mode): void => {
    existing.set(number, { mode, users: 0 });
    numbers.set(chainOf(mode), number);
    next = Math.max(next, number + 1);
  };
  const counterFor = (former: Draw | undefined): Draw => {
    if (former?.startsWith('turn') === true && !holders.has(former)) return former;
    if (holders.size >= counters) return 'random';
    for (let lane = 0; lane < counters; lane += 1) if (!holders.has(`turn${lane}`)) return `turn${lane}`;
    return 'random';
  };
  const join = (number: number): void => {
    const entry = existing.get(number);
    if (entry === undefined) return;
    entry.users += 1;
    if (entry.mode.draw.startsWith('turn')) holders.set(entry.mode.draw, number);
  };
  return {
    adopt,
    join,
    use(plan, empty, former) {
      if (plan === undefined) return { number: emptyModeOf(empty) };
      const { at, size, hold, masquerade, restricted, split, inside, shared } = plan;
      // The size of a large table is the number of its endpoints. It changes with each of them, and a counter
      // would begin again at the same endpoint each time. Slots to which clients are held keep their endpoint
      // while the table grows, so that neighbouring slots have the same one. The kernel follows each mode
      // that is split to each mode of inside, so there are few of inside.
      const turns = plan.draw === 'turn' && size <= usualSlots && hold === undefined && inside === undefined;
      const draw = turns
        ? counterFor(existing.get(former ?? refuseMode)?.mode.draw)
        : plan.draw === 'turn'
          ? 'random'
          : plan.draw;
      const mode: Mode = {
        at,
        size,
        draw,
        masquerade,
        restricted,
        ...(hold !== undefined && { hold }),
        ...(split !== undefined && { split }),
        ...(inside !== undefined && { inside }),
        ...(shared !== undefined && { shared }),
      };
      const known = numbers.get(chainOf(mode));
      const number = known ?? next;
      if (known === undefined) adopt(number, mode);
      join(number);
      return known === undefined ? { number, made: mode } : { number };
    },
    release(number) {
      const entry = existing.get(number);
      if (entry === undefined) return;
      entry.users -= 1;
      if (holders.get(entry.mode.draw) === number) holders.delete(entry.mode.draw);
    },
    modeOf: (number) => existing.get(number)?.mode,
    isKept(number) {
      const mode = existing.get(number)?.mode;
      return mode?.draw !== 'random' || mode.size > usualSlots || holders.size >= counters;
    },
    takeUnused() {
      const unused = [...existing]
        .filter(([, { users }]) => users === 0)
        .map(([number, { mode }]) => [number, mode] as const);
      for (const [number, mode] of unused) {
        existing.delete(number);
        numbers.delete(chainOf(mode));
      }
      return unused;
    },
    all: () => [...existing].map(([number, { mode }]) => [number, mode]),
  };
}
