import { blocking } from '../engine/blocking.ts';
import type { EffectKind } from '../engine/faults.ts';
import type { Incarnation } from '../engine/incarnation.ts';
import type { Scheduler } from '../engine/scheduler.ts';
import type { Report } from '../engine/history-events.ts';
import type { StoredNetwork } from './network-database.ts';
import type { NfTables } from './nf-tables.ts';

/** The machine on which the thread of services runs, as the stand-ins of kernel and disk calls use it. */
export interface ServicesMachine {
  readonly scheduler: Scheduler;
  readonly report: Report;
  readonly life: Incarnation;
  readonly kernel: NfTables;
  readonly database: StoredNetwork;
  readonly bootId: string;
}

let current: ServicesMachine | undefined;

/** Sets the machine that the product's system calls use from now on. */
export function useServicesMachine(machine: ServicesMachine | undefined): void {
  current = machine;
}

/** Returns the current machine. @throws Error outside of a history */
export function servicesMachine(): ServicesMachine {
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
  return blocking(servicesMachine().life, kind, name, failure, body);
}
