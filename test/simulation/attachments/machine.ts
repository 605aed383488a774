import { constants } from 'node:os';
import { kernelRefused } from '../../../cni-plugins/netlink/kernel-failure.ts';
import type { Attempt } from '../../../cni-plugins/netlink/kernel-failure.ts';
import { blocking } from '../blocking.ts';
import type { EffectKind } from '../faults.ts';
import type { Incarnation } from '../incarnation.ts';
import type { Tell } from '../tell.ts';
import type { StoredRows } from './stored-rows.ts';
import type { Host } from './host.ts';

/** The machine on which the network's thread runs, as the stand-ins of the kernel's and the disk's calls reach it. */
export interface AttachmentsMachine {
  readonly tell: Tell;
  readonly life: Incarnation;
  readonly host: Host;
  readonly rows: StoredRows;
  readonly bootId: string;
}

let current: AttachmentsMachine | undefined;

/** What the product's calls of the system reach from now on. */
export function useAttachmentsMachine(machine: AttachmentsMachine | undefined): void {
  current = machine;
}

/** @throws Error outside of a history */
export function attachmentsMachine(): AttachmentsMachine {
  if (current === undefined) throw new Error('no history is being played');
  return current;
}

/** A call of the thread, which blocks it. @param failure makes the error that the caller gets, from an errno */
export function effect<T>(kind: EffectKind, name: string, failure: (errno: string) => unknown, body: () => T): T {
  return blocking(attachmentsMachine().life, kind, name, failure, body);
}

/** As the kernel refuses a netlink request. */
export const refusal = (attempt: Attempt, errno: string): Error =>
  kernelRefused(attempt, (constants.errno as Readonly<Record<string, number>>)[errno] ?? 5, 'simulated');

/** A message to the kernel. */
export function asked<T>(what: string, on: string, body: () => T): T {
  return effect('kernel', what, (errno) => refusal({ what, on }, errno), body);
}
