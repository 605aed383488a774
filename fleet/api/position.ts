import type { VerdictPosition } from '../store/queries.ts';

/** Writes a position in the list of verdicts as text for clients. */
export const writePosition = ({ time, node, seq }: VerdictPosition): string => `${time}-${node}-${seq}`;

/** Reads a position. A text that is not a position means the beginning of the list. */
export function positionOf(text: string): VerdictPosition | undefined {
  const [, time, node, seq] = /^(-?\d{1,16})-(\d{1,15})-(\d{1,15})$/u.exec(text) ?? [];
  return seq === undefined ? undefined : { time: Number(time), node: Number(node), seq: Number(seq) };
}
