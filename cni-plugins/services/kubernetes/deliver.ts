import { setImmediate as nextTurn } from 'node:timers/promises';
import { reasonOf } from '../../../base/errors/index.ts';
import { giveMemoryBack } from '../memory.ts';
import type { PortionControl, RefusedService, Service } from '../model.ts';
import type { Changes, ServiceTable } from './table.ts';

/** What services from Kubernetes are called among the sources of a host's services. */
const source = 'kubernetes';

export interface DeliverTiming {
  /** Changes that come within so long go together, ms: a service and its first slice, the pods of one roll-out step. */
  readonly gather: number;
  /** What was refused is put again after so long, ms: what stood in its way may be gone. */
  readonly retryRefused: number;
  /** After a control that failed, ms. */
  readonly retryFailed: number;
}

/** Services of Kubernetes in one call: thousands at once would be garbage many times what is kept of them. */
const portion = 50;

export const usualDelivery: DeliverTiming = { gather: 20, retryRefused: 10_000, retryFailed: 1000 };

/** Brings what the table holds to the control: one call at a time, whatever changed meanwhile goes with the next. */
export interface Delivery {
  /** Something came. */
  poke(): void;
  /** Of ours, the names that stand refused. */
  refused(): readonly string[];
  close(): void;
}

type Log = {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
};

/**
 * Nothing is told before both lists are complete; then first what is gone, so that what stands since before a restart never blinks.
 * @param delivered called after each call of the control that succeeded
 */
export function createDelivery(
  table: ServiceTable,
  control: PortionControl,
  log: Log,
  delivered: () => void,
  timing: DeliverTiming = usualDelivery,
): Delivery {
  /** The control has only what the table has, and is told what changes there. */
  let retained = false;
  let busy = false;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  let timerAt = Infinity;
  /** By name; `said`: what was told of it. */
  const refused = new Map<string, { readonly service: Service; readonly answer: RefusedService; said?: string }>();

  function schedule(ms: number): void {
    const at = performance.now() + ms;
    if (closed || at >= timerAt) return;
    clearTimeout(timer);
    timerAt = at;
    timer = setTimeout(() => {
      timerAt = Infinity;
      void run();
    }, ms);
  }

  const isClosed = (): boolean => closed;

  async function run(): Promise<void> {
    if (busy || closed || !table.complete()) return;
    busy = true;
    try {
      if (!retained) await retain(table.tellAnew());
      for (let left = table.pending(); left > 0 && !isClosed(); left -= portion) {
        const changes = table.changes(portion);
        tellNotes(changes);
        await change(changes);
        if (left > portion) await tidy();
      }
      await putAgain();
      tellRefused();
      delivered();
      if (table.pending() > 0) schedule(timing.gather);
      else if (refused.size > 0) schedule(timing.retryRefused);
    } catch (thrown) {
      // What of the call was done nobody knows: everything is told anew.
      retained = false;
      log.warn({ why: reasonOf(thrown) }, 'services of Kubernetes could not be handed over, and are again');
      schedule(timing.retryFailed);
    } finally {
      busy = false;
    }
  }

  async function retain(names: readonly string[]): Promise<void> {
    await control.retain(source, names);
    const there = new Set(names);
    for (const name of refused.keys()) if (!there.has(name)) refused.delete(name);
    retained = true;
  }

  async function change({ put, remove }: Changes): Promise<void> {
    // What goes first makes room for what comes.
    if (remove.length > 0) await control.remove(source, remove);
    for (const name of remove) refused.delete(name);
    if (put.length > 0) settle(put, await control.put(source, put));
  }

  /** What was in the way of some may have come after them, and be gone by now; until none of them helps another. */
  async function putAgain(): Promise<void> {
    for (let before = Infinity; refused.size > 0 && refused.size < before && !isClosed();) {
      before = refused.size;
      const again = [...refused.values()].map(({ service }) => service);
      settle(again, await control.put(source, again));
    }
  }

  /** What the portion before has left behind would count as long as the next one is made. */
  async function tidy(): Promise<void> {
    await nextTurn();
    giveMemoryBack();
  }

  function settle(asked: readonly Service[], answers: readonly RefusedService[]): void {
    const answerOf = new Map(answers.map((answer) => [answer.name, answer]));
    for (const service of asked) {
      const answer = answerOf.get(service.name);
      const before = refused.get(service.name);
      if (answer !== undefined) refused.set(service.name, { service, answer, ...(before?.said !== undefined && { said: before.said }) });
      else if (refused.delete(service.name) && before?.said !== undefined)
        log.info({ service: service.name }, 'a service of Kubernetes that was refused stands now');
    }
  }

  /** Each reason once. */
  function tellRefused(): void {
    for (const each of refused.values()) {
      const { code, field, why } = each.answer;
      const said = `${code} ${field} ${why}`;
      if (each.said !== said) log.warn({ service: each.answer.name, code, field, why }, 'a service of Kubernetes was refused');
      each.said = said;
    }
  }

  function tellNotes({ notes }: Changes): void {
    for (const [service, sentences] of notes) {
      if (sentences.length === 0) log.info({ service }, 'a service of Kubernetes is done as it asks now');
      for (const why of sentences) log.warn({ service, why }, 'a service of Kubernetes is not done as it asks');
    }
  }

  return {
    poke: () => schedule(timing.gather),
    refused: () => [...refused.keys()],
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}
