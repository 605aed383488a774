import { setImmediate as nextTurn } from 'node:timers/promises';
import { reasonOf } from '../../../base/errors/index.ts';
import type { RefusedService, Service, ServiceControl } from '../model.ts';
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

/** Services in one call at the start. */
const portion = 100;
/** There with --expose-gc, as the daemon is started. */
const collectGarbage = (globalThis as { gc?: () => void }).gc;

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
 * Nothing is told before both lists are complete, and then everything by one `replace`: what stands since before a restart never blinks.
 * @param delivered called after each call of the control that succeeded
 */
export function createDelivery(
  table: ServiceTable,
  control: ServiceControl,
  log: Log,
  delivered: () => void,
  timing: DeliverTiming = usualDelivery,
): Delivery {
  let replaced = false;
  let busy = false;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  let timerAt = Infinity;
  const refused = new Map<string, { readonly service: Service; readonly said: string }>();

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

  async function run(): Promise<void> {
    if (busy || closed || !table.complete()) return;
    busy = true;
    try {
      const changes = replaced ? table.changes() : table.all();
      tellNotes(changes);
      await (replaced ? change(changes) : replace(changes));
      delivered();
      if (table.stale()) schedule(timing.gather);
      else if (refused.size > 0) schedule(timing.retryRefused);
    } catch (thrown) {
      // What of the call was done nobody knows: everything is told anew.
      replaced = false;
      log.warn({ why: reasonOf(thrown) }, 'services of Kubernetes could not be handed over, and are again');
      schedule(timing.retryFailed);
    } finally {
      busy = false;
    }
  }

  async function replace({ put }: Changes): Promise<void> {
    // In portions first, which `replace` then finds standing: thousands of services at once would be garbage many times what is kept of them.
    for (let from = 0; put.length > portion && from < put.length && !closed; from += portion) {
      await control.put(source, put.slice(from, from + portion));
      await nextTurn();
      collectGarbage?.();
    }
    const answers = await control.replace(source, put);
    for (const name of refused.keys()) if (!put.some((service) => service.name === name)) refused.delete(name);
    replaced = true;
    settle(put, answers);
  }

  async function change({ put, remove }: Changes): Promise<void> {
    // What goes first makes room for what comes.
    if (remove.length > 0) await control.remove(source, remove);
    for (const name of remove) refused.delete(name);
    const changed = new Set(put.map(({ name }) => name));
    const again = [...refused.values()].map(({ service }) => service).filter(({ name }) => !changed.has(name));
    const all = [...put, ...again];
    if (all.length === 0) return;
    settle(all, await control.put(source, all));
    // Those that came before what was in their way had gone.
    if (put.length > 0 && put.some(({ name }) => !refused.has(name)) && refused.size > 0) schedule(timing.gather);
  }

  function settle(asked: readonly Service[], answers: readonly RefusedService[]): void {
    const answerOf = new Map(answers.map((answer) => [answer.name, answer]));
    for (const service of asked) {
      const answer = answerOf.get(service.name);
      const before = refused.get(service.name);
      if (answer === undefined) {
        if (before !== undefined) log.info({ service: service.name }, 'a service of Kubernetes that was refused stands now');
        refused.delete(service.name);
        continue;
      }
      const said = `${answer.code} ${answer.field} ${answer.why}`;
      refused.set(service.name, { service, said });
      const { code, field, why } = answer;
      if (before?.said !== said) log.warn({ service: service.name, code, field, why }, 'a service of Kubernetes was refused');
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
