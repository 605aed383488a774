import { equals, meta, portUnreachable, register, resetTcp, verdict } from '../../../base/netlink/index.ts';
import { isTcpWithoutSyn } from '../unknown-segments/rules.ts';
import { sourcesChain } from '../source-ranges/rules.ts';
import { insideChain } from './inside-plane.ts';

/** The modes of servers without any destination for a connection. Their chains are constant. Pure. */
export interface EmptyMode {
  /** Only clients in the server's source ranges get an answer. The others are dropped. */
  readonly restricted: boolean;
  /** Connections from inside the node have destinations of their own. */
  readonly split: boolean;
  /** Connections are dropped. Absent: they are refused. */
  readonly drops: boolean;
}

const [restrictedBit, splitBit, dropsBit] = [1, 2, 4];

/** The number of the mode that refuses every connection. */
export const refuseMode = 0;
/** The numbers of modes with destinations begin here. */
export const firstMode = 8;

export const isEmptyMode = (number: number): boolean => number < firstMode;

export const emptyModeOf = ({ restricted, split, drops }: EmptyMode): number =>
  (restricted ? restrictedBit : 0) | (split ? splitBit : 0) | (drops ? dropsBit : 0);

const chainOf = (number: number): string =>
  `${(number & dropsBit) === 0 ? 'refuse' : 'drop'}${(number & splitBit) === 0 ? '' : '_split'}${(number & restrictedBit) === 0 ? '' : '_restricted'}`;

/** Refuses a connection. */
export const refuseChain = chainOf(refuseMode);

/** Drops a first packet. A later segment of a connection that has lost its destination is refused. */
export const lostChain = 'lost';

/** The chains of these modes by their numbers. */
export const emptyModes: ReadonlyMap<number, string> = new Map(
  Array.from({ length: firstMode }, (_, number) => [number, chainOf(number)]),
);

/** Returns the rules of these chains. */
export function emptyRulesOf(
  ip: 'ip' | 'ip6',
): readonly (readonly [chain: string, rule: readonly Buffer[]])[] {
  const r0 = register(0);
  const refuse: readonly (readonly [string, readonly Buffer[]])[] = [
    [refuseChain, [meta('l4proto', r0), equals(r0, Buffer.of(6)), resetTcp()]],
    [refuseChain, [portUnreachable(ip)]],
  ];
  const others = [...emptyModes].flatMap(([number, chain]) =>
    number === refuseMode
      ? []
      : [
          ...((number & restrictedBit) === 0 ? [] : [verdict({ jump: sourcesChain })]),
          ...((number & splitBit) === 0 ? [] : [verdict({ jump: insideChain })]),
          verdict({ goto: (number & dropsBit) === 0 ? refuseChain : lostChain }),
        ].map((each) => [chain, [each]] as const),
  );
  return [
    ...refuse,
    ...others,
    [lostChain, [...isTcpWithoutSyn, resetTcp()]],
    [lostChain, [verdict('drop')]],
  ];
}
