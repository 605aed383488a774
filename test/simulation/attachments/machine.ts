import { constants } from 'node:os';
import { kernelRefused } from '../../../base/netlink/index.ts';
import type { Attempt } from '../../../base/netlink/index.ts';
import { blocking } from '../engine/blocking.ts';
import type { EffectKind } from '../engine/faults.ts';
import type { Incarnation } from '../engine/incarnation.ts';
import type { Report } from '../engine/history-events.ts';
import type { StoredRows } from './stored-rows.ts';
import type { Host } from './host.ts';

/** The machine on which the network's thread runs, as the stand-ins of kernel and disk calls use it. */
export interface AttachmentsMachine {
  readonly report: Report;
  readonly life: Incarnation;
  readonly host: Host;
  readonly rows: StoredRows;
  readonly bootId: string;
}

let current: AttachmentsMachine | undefined;

/** Sets the machine that the product's system calls use from now on. */
export function useAttachmentsMachine(machine: AttachmentsMachine | undefined): void {
  current = machine;
}

/** Returns the current machine. @throws Error outside of a history */
export function attachmentsMachine(): AttachmentsMachine {
  if (current === undefined) throw new Error('no history is being played');
  return current;
}

/** Runs a call of the thread, which blocks it. @param failure makes the caller's error from an errno */
export function effect<T>(
  kind: EffectKind,
  name: string,
  failure: (errno: string) => unknown,
  body: () => T,
): T {
  return blocking(attachmentsMachine().life, kind, name, failure, body);
}

/** Returns the error with which the kernel refuses a netlink request. */
export const refusal = (attempt: Attempt, errno: string): Error =>
  kernelRefused(attempt, (constants.errno as Readonly<Record<string, number>>)[errno] ?? 5, 'simulated');

/** Sends a message to the kernel. */
export function asked<T>(what: string, on: string, body: () => T): T {
  return effect('kernel', what, (errno) => refusal({ what, on }, errno), body);
}
