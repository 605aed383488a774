import { malformed } from './malformed.ts';

/**
 * An automaton as the kernel's AppArmor runs it (security/apparmor/match.c of Linux 6.1): state 0 is failure,
 * state 1 is the start.
 */
export interface KernelAutomaton {
  readonly states: number;
  next(state: number, byte: number): number;
  /** Returns what a state grants. The meaning of the bits depends on the subject of the automaton. */
  accepts(state: number): number;
  /** Bytes with equal numbers are equivalent for this automaton. */
  classOf(byte: number): number;
}

const MAGIC = 0x1b5e783d;
/** Table ids (security/apparmor/include/match.h). */
const TABLES = { accept: 1, base: 2, check: 3, fallback: 4, classes: 5, next: 8 } as const;
/** Set in BASE: the remaining transitions are in the state's default state. */
const DIFFERENCE = 0x8000_0000;

/**
 * Reads the tables: big-endian, each aligned to 8 bytes.
 * @param padded up to 7 bytes precede it, so that it is aligned itself
 * @throws ENTITLEMENTS_BAD_PROFILE
 */
export function readAutomaton(padded: Buffer): KernelAutomaton {
  const start = [0, 1, 2, 3, 4, 5, 6, 7].find(
    (at) => at + 16 <= padded.length && padded.readUInt32BE(at) === MAGIC,
  );
  if (start === undefined) throw malformed('an automaton without its magic number');
  const blob = padded.subarray(start);
  const tables = new Map<number, readonly number[]>();
  for (let at = blob.readUInt32BE(4); at + 12 <= blob.length;) {
    const [id, size, length] = [blob.readUInt16BE(at), blob.readUInt16BE(at + 2), blob.readUInt32BE(at + 8)];
    const end = at + 12 + length * size;
    if (![1, 2, 4].includes(size) || end > blob.length) throw malformed('a table that does not fit');
    tables.set(
      id,
      Array.from({ length }, (_, item) => blob.readUIntBE(at + 12 + item * size, size)),
    );
    at = Math.ceil(end / 8) * 8;
  }
  const table = (id: number): readonly number[] => {
    const found = tables.get(id);
    if (found === undefined) throw malformed(`an automaton without table ${id}`);
    return found;
  };
  const [accept, base, check, fallback, next] = [
    TABLES.accept,
    TABLES.base,
    TABLES.check,
    TABLES.fallback,
    TABLES.next,
  ].map(table);
  const classes = tables.get(TABLES.classes);
  if (
    accept === undefined ||
    base === undefined ||
    check === undefined ||
    fallback === undefined ||
    next === undefined
  ) {
    throw malformed('an automaton without its tables');
  }
  const classOf = (byte: number): number => classes?.[byte] ?? byte;
  return {
    states: base.length,
    classOf,
    accepts: (state) => accept[state] ?? 0,
    next: (from, byte) => {
      let state = from;
      for (let steps = 0; steps <= base.length; steps++) {
        const entry: number = base[state] ?? 0;
        const place = (entry & 0xff_ffff) + classOf(byte);
        if (check[place] === state) return next[place] ?? 0;
        state = fallback[state] ?? 0;
        if ((entry & DIFFERENCE) === 0) return state;
      }
      throw malformed('an automaton whose default states form a cycle');
    },
  };
}
