import type { VirtualServer } from '../model/model.ts';
import { packServer, unpackServer } from '../model/serialized-server.ts';
import type { PackedServer } from '../model/serialized-server.ts';
import { digestOf, keyBytes, unread } from './elements.ts';
import { encodedServer } from './encoded-server.ts';
import type { EncodedServer } from './encoded-server.ts';
import type { Standing } from './elements.ts';
import type { Modes } from './modes.ts';
import { planOf } from './plan.ts';
import type { Plan } from './plan.ts';

/** The kept data of a server in force, which cannot be derived from the rest. Pure. */
export interface CompactServer {
  readonly packed: PackedServer;
  /** The number of its mode. */
  readonly mode: number;
  /** Absent: the slots follow from the server. */
  readonly slots?: PackedSlots;
  /** Its elements, to restore them in the shortest time. Absent: they are many, or were not read yet. */
  readonly encoded?: EncodedServer;
}

/**
 * The names of the owners, and one character for each slot that selects its owner. '': the slots have not
 * been read yet.
 */
type PackedSlots = string;

/** Whether the slots depend on previous slots, or on connections. */
const slotsHaveHistory = ({ scheduler, clientAffinity, persistenceSeconds }: VirtualServer): boolean =>
  scheduler !== 'maglev' &&
  (clientAffinity || scheduler === 'sh' || scheduler === 'lc' || persistenceSeconds !== undefined);

/** Elements of up to 90 slots are kept, in bytes. More are not even encoded: `lc` changes each second. */
const [mostEncoded, mostEncodedSlots] = [4096, 90];

/** @param known its elements, if they are encoded already */
export function compactServer(existing: Standing, known?: EncodedServer): CompactServer {
  const { server, mode, plan } = existing;
  const packed = packServer(server);
  if (plan?.slots === unread)
    return { packed, mode, slots: '', ...(known !== undefined && { encoded: known }) };
  const isLarge = plan !== undefined && plan.slots.length > mostEncodedSlots;
  const encoded = isLarge ? undefined : (known ?? encodedServer(existing));
  const isKept = encoded !== undefined && encoded.length <= mostEncoded;
  const own = { packed, mode, ...(isKept && { encoded }) };
  return plan !== undefined && slotsHaveHistory(server) ? { ...own, slots: packSlots(plan.slots) } : own;
}

/**
 * @param modes the modes that include the server's mode
 * @param server the server, if it was unpacked already
 */
export function standingOf(
  kept: CompactServer,
  modes: Modes,
  server: VirtualServer = unpackServer(kept.packed),
): Standing {
  const plan = planOfMode(modes, kept.mode);
  const own = { server, mode: kept.mode, key: keyBytes(server), digest: digestOf(server) };
  if (plan === undefined) return own;
  const slots =
    kept.slots === undefined
      ? (planOf(server)?.slots ?? unread)
      : kept.slots === ''
        ? unread
        : unpackSlots(kept.slots);
  return { ...own, plan: { ...plan, slots } };
}

/**
 * Returns the part of the plan that a server's mode defines. Undefined: there is none, and connections are
 * refused.
 */
export function planOfMode(modes: Modes, number: number): Plan | undefined {
  const mode = modes.modeOf(number);
  if (mode === undefined) return undefined;
  const { draw } = mode;
  return {
    ...mode,
    draw: draw.startsWith('turn') || draw === 'random' ? 'turn' : (draw as Plan['draw']),
    slots: unread,
  };
}

function packSlots(slots: readonly string[]): PackedSlots {
  const names = [...new Set(slots)];
  const indexes = new Map(names.map((name, index) => [name, index]));
  return `${names.join()};${slots.map((name) => String.fromCharCode(indexes.get(name) ?? 0)).join('')}`;
}

function unpackSlots(packed: PackedSlots): string[] {
  const end = packed.indexOf(';');
  const names = packed.slice(0, end).split(',');
  return Array.from(packed.slice(end + 1), (index) => names[index.charCodeAt(0)] ?? '');
}
