import type { Operation } from './circuits.ts';
import type { Comparison } from './symbolic.ts';

/** The source of an operand: the instruction itself, the accumulator A or the index register X. */
type Source = 'k' | 'x';

/**
 * The meaning of an opcode: the subset of classic BPF that seccomp accepts (kernel/seccomp.c,
 * seccomp_check_filter; linux/bpf_common.h). `ld … len` gives sizeof(struct seccomp_data).
 */
export type Meaning =
  | { readonly op: 'load'; readonly to: 'a'; readonly from: 'data' }
  | { readonly op: 'load'; readonly to: 'a' | 'x'; readonly from: 'len' | 'k' | 'memory' }
  | { readonly op: 'store'; readonly from: 'a' | 'x' }
  | { readonly op: 'copy'; readonly to: 'a' | 'x' }
  | { readonly op: 'compute'; readonly operation: Operation; readonly by: Source }
  | { readonly op: 'negate' }
  | { readonly op: 'jump' }
  | { readonly op: 'branch'; readonly comparison: Comparison; readonly with: Source }
  | { readonly op: 'return'; readonly value: 'k' | 'a' };

/** BPF_ALU operations by their code (linux/bpf_common.h). seccomp does not accept BPF_MOD. */
const OPERATIONS: readonly (readonly [number, Operation])[] = [
  [0x00, 'add'],
  [0x10, 'sub'],
  [0x20, 'mul'],
  [0x30, 'div'],
  [0x40, 'or'],
  [0x50, 'and'],
  [0x60, 'lsh'],
  [0x70, 'rsh'],
  [0xa0, 'xor'],
];

const COMPARISONS: readonly (readonly [number, Comparison])[] = [
  [0x10, 'eq'],
  [0x20, 'gt'],
  [0x30, 'ge'],
  [0x40, 'set'],
];

const MEANINGS: ReadonlyMap<number, Meaning> = new Map<number, Meaning>([
  [0x20, { op: 'load', to: 'a', from: 'data' }],
  [0x80, { op: 'load', to: 'a', from: 'len' }],
  [0x81, { op: 'load', to: 'x', from: 'len' }],
  [0x00, { op: 'load', to: 'a', from: 'k' }],
  [0x01, { op: 'load', to: 'x', from: 'k' }],
  [0x60, { op: 'load', to: 'a', from: 'memory' }],
  [0x61, { op: 'load', to: 'x', from: 'memory' }],
  [0x02, { op: 'store', from: 'a' }],
  [0x03, { op: 'store', from: 'x' }],
  [0x07, { op: 'copy', to: 'x' }],
  [0x87, { op: 'copy', to: 'a' }],
  [0x84, { op: 'negate' }],
  [0x05, { op: 'jump' }],
  [0x06, { op: 'return', value: 'k' }],
  [0x16, { op: 'return', value: 'a' }],
  ...OPERATIONS.flatMap(([code, operation]): [number, Meaning][] => [
    [0x04 | code, { op: 'compute', operation, by: 'k' }],
    [0x0c | code, { op: 'compute', operation, by: 'x' }],
  ]),
  ...COMPARISONS.flatMap(([code, comparison]): [number, Meaning][] => [
    [0x05 | code, { op: 'branch', comparison, with: 'k' }],
    [0x0d | code, { op: 'branch', comparison, with: 'x' }],
  ]),
]);

/** Returns undefined for an opcode that seccomp does not accept. */
export function meaningOf(code: number): Meaning | undefined {
  return MEANINGS.get(code);
}
