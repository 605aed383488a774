import { ACTIONS_WITH_DATA, ACTIONS_WITHOUT_DATA, answerOf } from './answer.ts';
import { checkedProgram, MEMORY_WORDS } from './check-program.ts';
import type { Step } from './check-program.ts';
import { and, DATA_SIZE, not, wordAt } from './conditions.ts';
import { FALSE, TRUE } from './node-table.ts';
import type { DiagramStore } from './diagram.ts';
import type { Node } from './node-table.ts';
import { arithmetic } from './symbolic.ts';
import type { Arithmetic, Symbolic } from './symbolic.ts';

/**
 * The registers before an instruction. A register that is not read any more is 0, so that states which differ
 * only in such registers become one.
 */
interface State {
  readonly a: Symbolic;
  readonly x: Symbolic;
  readonly memory: readonly Symbolic[];
}

/** The effect of an instruction in one state: an answer, or one of two later states. */
type Next = { readonly answer: Node } | { readonly when: Node; readonly yes: Place; readonly no: Place };

interface Place {
  readonly at: number;
  readonly key: string;
}

/** Registers as bits: A, X, and the memory cells from bit 2 on. */
const A = 1;
const X = 2;
const cellBit = (cell: number): number => 4 << cell;

/**
 * Returns the answers of a compiled filter, as a function of all 2⁵¹² calls (architecture, number, six
 * arguments, instruction pointer). It works for the output of any compiler. Exact: every state that can reach
 * an instruction is followed once, and the answers are combined from the end.
 * @param bytes `struct sock_filter[]`, little-endian
 * @throws ENTITLEMENTS_BAD_FILTER for a program that the kernel would not load, with the instruction;
 * ENTITLEMENTS_TOO_COMPLEX
 */
export function diagramOfProgram(store: DiagramStore, bytes: Uint8Array): Node {
  const program = checkedProgram(bytes);
  const numbers = arithmetic(store);
  const live = liveRegisters(program);
  const zero = numbers.constant(0);
  const states = program.map(() => new Map<string, State>());
  const nexts = program.map(() => new Map<string, Next>());

  const arrive = (at: number, state: State): Place => {
    store.tick();
    const needed = live[at] ?? 0;
    const kept: State = {
      a: needed & A ? state.a : zero,
      x: needed & X ? state.x : zero,
      memory: state.memory.map((value, cell) => (needed & cellBit(cell) ? value : zero)),
    };
    const memory = needed > 3 ? kept.memory.map((value) => value.id).join() : '';
    const key = `${kept.a.id} ${kept.x.id} ${memory}`;
    states[at]?.set(key, kept);
    return { at, key };
  };

  const start = arrive(0, { a: zero, x: zero, memory: Array.from({ length: MEMORY_WORDS }, () => zero) });
  program.forEach((step, at) => {
    for (const [key, state] of states[at] ?? [])
      nexts[at]?.set(key, follow(store, numbers, step, at, state, arrive));
  });

  const answers = program.map(() => new Map<string, Node>());
  const failed = store.leaf(answerOf(0));
  const answerAt = (place: Place): Node =>
    place === FAILED ? failed : (answers[place.at]?.get(place.key) ?? failed);
  for (let at = program.length - 1; at >= 0; at--) {
    for (const [key, next] of nexts[at] ?? []) {
      answers[at]?.set(
        key,
        'answer' in next ? next.answer : store.choose(next.when, answerAt(next.yes), answerAt(next.no)),
      );
    }
  }
  return answerAt(start);
}

function follow(
  store: DiagramStore,
  numbers: Arithmetic,
  step: Step,
  at: number,
  state: State,
  arrive: (at: number, state: State) => Place,
): Next {
  const { meaning, k } = step;
  const one = (place: Place): Next => ({ when: TRUE, yes: place, no: place });
  const go = (changed: Partial<State>): Next => one(arrive(at + 1, { ...state, ...changed }));
  switch (meaning.op) {
    case 'load': {
      const value =
        meaning.from === 'data'
          ? numbers.word(wordAt(k))
          : meaning.from === 'memory'
            ? (state.memory[k] ?? numbers.constant(0))
            : numbers.constant(meaning.from === 'len' ? DATA_SIZE : k);
      return go(meaning.to === 'a' ? { a: value } : { x: value });
    }
    case 'store':
      return go({ memory: state.memory.with(k, meaning.from === 'a' ? state.a : state.x) });
    case 'copy':
      return go(meaning.to === 'a' ? { a: state.x } : { x: state.a });
    case 'negate':
      return go({ a: numbers.compute('sub', numbers.constant(0), state.a) });
    case 'compute': {
      const by = meaning.by === 'k' ? numbers.constant(k) : state.x;
      const next = arrive(at + 1, { ...state, a: numbers.compute(meaning.operation, state.a, by) });
      if (meaning.operation !== 'div' || meaning.by === 'k') return one(next);
      // A division by X = 0 ends the program with 0 (net/core/filter.c, bpf_convert_filter).
      const failed = numbers.isZero(by);
      if (failed === TRUE) return { answer: store.leaf(answerOf(0)) };
      return failed === FALSE ? one(next) : { when: failed, yes: FAILED, no: next };
    }
    case 'jump':
      return one(arrive(at + 1 + k, state));
    case 'branch': {
      const when = numbers.compare(
        meaning.comparison,
        state.a,
        meaning.with === 'k' ? numbers.constant(k) : state.x,
      );
      if (when === TRUE) return one(arrive(at + 1 + step.jt, state));
      if (when === FALSE) return one(arrive(at + 1 + step.jf, state));
      return { when, yes: arrive(at + 1 + step.jt, state), no: arrive(at + 1 + step.jf, state) };
    }
    case 'return':
      return { answer: meaning.value === 'k' ? store.leaf(answerOf(k)) : returned(store, state.a) };
  }
}

const FAILED: Place = { at: -1, key: '' };

/** Returns what the kernel does for a computed return value. */
function returned(store: DiagramStore, value: Symbolic): Node {
  if (value.constant !== undefined) return store.leaf(answerOf(value.constant));
  let found = store.leaf(answerOf(0x80000000));
  for (const action of [...ACTIONS_WITHOUT_DATA, ...ACTIONS_WITH_DATA]) {
    const when = upperHalfIs(store, value, action);
    if (when === FALSE) continue;
    found = store.choose(
      when,
      ACTIONS_WITH_DATA.includes(action) ? withData(store, value, 15, action) : store.leaf(action),
      found,
    );
  }
  return found;
}

function upperHalfIs(store: DiagramStore, { bits }: Symbolic, action: number): Node {
  let when = TRUE;
  for (let bit = 16; bit < 32; bit++) {
    const is = bits[bit] ?? FALSE;
    when = and(store, ((action >>> bit) & 1) === 1 ? is : not(store, is), when);
  }
  return when;
}

function withData(store: DiagramStore, value: Symbolic, bit: number, known: number): Node {
  if (bit < 0) return store.leaf(answerOf(known));
  const is = value.bits[bit] ?? FALSE;
  const one = (): Node => withData(store, value, bit - 1, (known | (1 << bit)) >>> 0);
  const zero = (): Node => withData(store, value, bit - 1, known);
  if (is === TRUE) return one();
  return is === FALSE ? zero() : store.choose(is, one(), zero());
}

/**
 * Returns the registers whose values matter before each instruction. Jumps go forward, so one pass from the
 * end is enough.
 */
function liveRegisters(program: readonly Step[]): number[] {
  const live = new Array<number>(program.length).fill(0);
  for (let at = program.length - 1; at >= 0; at--) {
    const step = program[at];
    if (step !== undefined) live[at] = liveBefore(step, (distance) => live[at + 1 + distance] ?? 0);
  }
  return live;
}

function liveBefore({ meaning, jt, jf, k }: Step, after: (distance: number) => number): number {
  switch (meaning.op) {
    case 'load': {
      const rest = after(0) & ~(meaning.to === 'a' ? A : X);
      return meaning.from === 'memory' ? rest | cellBit(k) : rest;
    }
    case 'store':
      return (after(0) & ~cellBit(k)) | (meaning.from === 'a' ? A : X);
    case 'copy':
      return (after(0) & ~(meaning.to === 'a' ? A : X)) | (meaning.to === 'a' ? X : A);
    case 'negate':
      return after(0) | A;
    case 'compute':
      return after(0) | A | (meaning.by === 'x' ? X : 0);
    case 'jump':
      return after(k);
    case 'branch':
      return after(jt) | after(jf) | A | (meaning.with === 'x' ? X : 0);
    case 'return':
      return meaning.value === 'a' ? A : 0;
  }
}
