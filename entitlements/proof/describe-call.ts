import { AUDIT_ARCH, syscallNumbers } from '../seccomp/syscalls.ts';
import type { Architecture } from '../types.ts';
import { answerText } from './answer.ts';
import type { Difference } from './compare.ts';
import type { Call } from './conditions.ts';

/** Other architectures whose programs our kernels run (linux/audit.h), and some that they do not run. */
const OTHER_ARCHITECTURES: ReadonlyMap<number, string> = new Map([
  [0x40000003, 'x86'],
  [0x40000028, 'arm'],
]);

const X32_BIT = 0x40000000;

/** The names of both sides of a proof, for a sentence. */
interface Sides {
  readonly left: string;
  readonly right: string;
}

/** A call for which two sides differ, as text for people and as values for programs. */
export interface CallWitness {
  /** `x86_64`, `x32`, `x86`, or the number of an unknown architecture. */
  readonly architecture: string;
  /** The call's name, or `call NUMBER`. */
  readonly name: string;
  readonly nr: number;
  /** Six registers. */
  readonly args: readonly bigint[];
  readonly left: string;
  readonly right: string;
  /** `x86_64 socket(0x100000026): the profile says errno 1, the program answers allow` */
  readonly sentence: string;
}

export function describeDifference({ call, left, right }: Difference, sides: Sides): CallWitness {
  const { architecture, name } = nameOf(call);
  const pointer =
    call.instructionPointer === undefined ? '' : ` at instruction ${number(call.instructionPointer)}`;
  const [says, answers] = [answerText(left), answerText(right)];
  return {
    architecture,
    name,
    nr: call.nr,
    args: call.args,
    left: says,
    right: answers,
    sentence: `${architecture} ${name}(${trimmed(call.args).join(', ')})${pointer}: ${sides.left} ${says}, ${sides.right} ${answers}`,
  };
}

function nameOf({ arch, nr }: Call): { architecture: string; name: string } {
  const native = (Object.keys(AUDIT_ARCH) as Architecture[]).find((known) => AUDIT_ARCH[known] === arch);
  if (native === undefined)
    return {
      architecture: OTHER_ARCHITECTURES.get(arch) ?? `architecture 0x${arch.toString(16)}`,
      name: `call ${nr}`,
    };
  const x32 = native === 'x86_64' && nr >= X32_BIT && nr !== 0xffffffff;
  const plain = x32 ? nr - X32_BIT : nr;
  const name = [...syscallNumbers(native)].find(([, own]) => own === plain)?.[0];
  return { architecture: x32 ? 'x32' : native, name: name ?? `call ${plain}` };
}

/** Returns the arguments without trailing zeros. */
function trimmed(args: readonly bigint[]): string[] {
  return args.slice(0, args.findLastIndex((value) => value !== 0n) + 1).map(number);
}

function number(value: bigint): string {
  return value < 1000n ? value.toString() : `0x${value.toString(16)}`;
}
