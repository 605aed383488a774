import { insideOf, isSplit } from '../model/planes.ts';
import type { VirtualServer } from '../model/model.ts';
import { insideMarks, nodePortMark, nodePortMarks } from './plan.ts';
import type { IpvsPlane } from './plan.ts';
import { insideKeyBytes } from './tables.ts';

/**
 * Assigns a mark to the inside plane of each server: IPVS has one list of destinations for an address, and
 * another one for a mark. The mark of a node port follows from the port. Pure except for its own state.
 */
interface InsideMarks {
  /**
   * Returns the planes of these servers, with the marks of inside planes. A server that had an inside plane
   * keeps it while it has sources of connections from inside: connections would end with the plane. There are
   * 327,680 marks. A server beyond them has no inside plane: connections from inside are balanced like all
   * others.
   */
  planesOf(servers: readonly VirtualServer[]): readonly IpvsPlane[];
  /** Gives back the mark of a plane that is gone. */
  release(plane: IpvsPlane): void;
  /**
   * Starts again. Planes get the marks that they have in the kernel, so that their connections go on.
   * @param existing marks by {@link insideIdOf}
   */
  adopt(existing: ReadonlyMap<string, number>): void;
  /** Called after the last {@link InsideMarks.planesOf} that may use marks of the kernel. */
  settle(): void;
}

/** @param key address, protocol and port, as keys of sets; of a node port without the address */
export const insideIdOf = (family: 4 | 6, key: Uint8Array): string =>
  `${family} ${Buffer.from(key).toString('hex')}`;

const last = insideMarks.first + (~insideMarks.mask >>> 0);
const none: ReadonlyMap<string, number> = new Map();

export function createInsideMarks(): InsideMarks {
  const marks = new Map<string, number>();
  let former = none;
  let taken = new Set<number>();
  let next: number = insideMarks.ofAddresses;

  const free = (): number | undefined => {
    if (taken.size > last - insideMarks.ofAddresses) return undefined;
    for (;;) {
      const mark = next;
      next = next === last ? insideMarks.ofAddresses : next + 1;
      if (!taken.has(mark)) return mark;
    }
  };
  const idOf = (server: VirtualServer): string => insideIdOf(server.family, insideKeyBytes(server));
  const markOf = (plane: IpvsPlane): number | undefined => {
    const { address, protocol, port } = plane;
    const id = idOf(plane);
    const mark =
      address === undefined
        ? insideMarks.first + nodePortMark(protocol, port) - nodePortMarks.first
        : (marks.get(id) ?? former.get(id) ?? free());
    if (mark === undefined) return undefined;
    marks.set(id, mark);
    taken.add(mark);
    return mark;
  };
  const isKept = (server: VirtualServer): boolean =>
    server.insideSources !== undefined && (marks.has(idOf(server)) || former.has(idOf(server)));
  return {
    planesOf: (servers) =>
      servers.flatMap((server): IpvsPlane[] => {
        if (!isSplit(server) && !isKept(server)) return [server];
        const plane = insideOf(server);
        const mark = markOf(plane);
        return mark === undefined ? [server] : [server, { ...plane, mark }];
      }),
    release(plane) {
      if (plane.mark === undefined) return;
      marks.delete(idOf(plane));
      taken.delete(plane.mark);
    },
    adopt(existing) {
      marks.clear();
      former = existing;
      taken = new Set(existing.values());
    },
    settle() {
      former = none;
      taken = new Set(marks.values());
    },
  };
}
