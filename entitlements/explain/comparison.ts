import type { Witness } from '../compare/contains.ts';
import type { Operand } from '../import/operand.ts';
import { differences, excessOf } from './differences.ts';

/** Something that one profile grants and the other does not, as it is printed. */
export interface Finding {
  readonly dimension: string;
  readonly subject: string;
  readonly sentence: string;
  /**
   * For a system call: arguments for which the two differ, as numbers if these are exact, otherwise as
   * hexadecimal text.
   */
  readonly args?: readonly (number | string)[];
}

/** Two profiles, and their differences. */
export interface Comparison {
  readonly first: string;
  readonly second: string;
  /** The file of the first profile. */
  readonly firstFile?: string;
  readonly secondFile?: string;
  readonly question: 'same' | 'within';
  readonly holds: boolean;
  readonly onlyFirst: readonly Finding[];
  readonly onlySecond: readonly Finding[];
}

/**
 * Compares two profiles. `within`: only grants of the first that the second does not have count.
 * @throws ENTITLEMENTS_TOO_COMPLEX
 */
export function compareProfiles(a: Operand, b: Operand, options: { readonly within: boolean }): Comparison {
  const same = a.label === b.label;
  const names = { first: same ? 'the first' : a.label, second: same ? 'the second' : b.label };
  const { onlyFirst, onlySecond } = options.within
    ? {
        onlyFirst: excessOf(b.profile, a.profile, { outer: names.second, inner: names.first }),
        onlySecond: [],
      }
    : differences(a.profile, b.profile, names);
  return {
    ...names,
    ...(a.file === undefined ? {} : { firstFile: a.file }),
    ...(b.file === undefined ? {} : { secondFile: b.file }),
    question: options.within ? 'within' : 'same',
    holds: onlyFirst.length === 0 && onlySecond.length === 0,
    onlyFirst: onlyFirst.map(findingOf),
    onlySecond: onlySecond.map(findingOf),
  };
}

function findingOf({ dimension, subject, sentence, args }: Witness): Finding {
  return { dimension, subject, sentence, ...(args === undefined ? {} : { args: args.map(plain) }) };
}

function plain(value: bigint): number | string {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : `0x${value.toString(16)}`;
}

const MAX_SHOWN = 100;

/** Describes the comparison as text, one line per difference. */
export function describeDifferences({
  first,
  second,
  question,
  holds,
  onlyFirst,
  onlySecond,
}: Comparison): string {
  if (holds)
    return question === 'same'
      ? `${first} and ${second} grant the same\n`
      : `${first} grants nothing that ${second} does not\n`;
  return [
    ...section(`${first} grants, and ${second} does not:`, onlyFirst),
    ...section(`${second} grants, and ${first} does not:`, onlySecond),
  ].join('');
}

function section(title: string, findings: readonly Finding[]): string[] {
  if (findings.length === 0) return [];
  const left = findings.length - MAX_SHOWN;
  return [
    `${title}\n`,
    ...findings.slice(0, MAX_SHOWN).map(({ sentence }) => `  ${sentence}\n`),
    ...(left > 0 ? [`  … and ${left} more (--output json lists all)\n`] : []),
  ];
}
