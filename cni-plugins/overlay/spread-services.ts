import { reasonOf } from '../../base/errors/index.ts';
import type { Service, ServiceControl } from '../services/index.ts';
import type { Change } from './etcd/follow.ts';
import type { Keys } from './records/records.ts';
import { createServiceDescriptions, refuse } from './service-descriptions.ts';

/**
 * Services in etcd as this host applies them: descriptions under `services/NAME`, with backends on any host.
 */
export interface SpreadServices {
  list(entries: readonly { readonly key: string; readonly value: Buffer }[]): void;
  change(changes: readonly Change[]): void;
  readonly size: number;
  readonly names: readonly string[];
  readonly standing: () => Iterable<Service>;
  /**
   * Services that this host could not apply as etcd describes them, each with the reason. They are retried.
   */
  readonly refused: readonly string[];
  /** Applies what is pending, and ends. */
  close(): Promise<void>;
}

const source = 'overlay';
/** Retry interval of refused services: doubles each time, up to the longest. */
const soonestMs = 1000;
const againMs = 10_000;

/** @param report called with each refusal and its reason */
export function createSpreadServices(
  control: ServiceControl,
  keys: Keys,
  report: (problem: string) => void,
): SpreadServices {
  const descriptions = createServiceDescriptions(keys, report);
  const held = descriptions.services;
  let dirty = new Set<string>();
  let whole = false;
  let applying: Promise<void> | undefined;
  let again: NodeJS.Timeout | undefined;
  let closed = false;
  /** Services that the load balancer refused, by name. */
  const refusals = new Map<string, string>();
  let waitMs = soonestMs;

  const take = (name: string, value: Buffer | undefined): void => {
    dirty.add(name);
    // A resource of another service may be free now.
    for (const each of refusals.keys()) dirty.add(each);
    waitMs = soonestMs;
    if (value === undefined) refusals.delete(name);
    descriptions.take(name, value);
  };

  /** @returns whether it could be applied */
  const apply = async (): Promise<boolean> => {
    const names = dirty;
    const isWhole = whole;
    dirty = new Set();
    whole = false;
    try {
      const put = [...(isWhole ? held.keys() : names)].flatMap((name) => held.get(name) ?? []);
      const refused = isWhole
        ? await control.replace(source, put)
        : put.length === 0
          ? []
          : await control.put(source, put);
      for (const { name } of put) if (!refused.some((each) => each.name === name)) refusals.delete(name);
      for (const { name, field, why } of refused)
        refuse(refusals, name, `${keys.service(name)}: ${field}: ${why}`, report);
      const gone = [...names].filter((name) => !held.has(name));
      if (!isWhole && gone.length > 0) await control.remove(source, gone);
      return true;
    } catch (thrown) {
      whole = true;
      report(reasonOf(thrown));
      return false;
    }
  };

  const askAgain = (): void => {
    if (closed || refusals.size === 0) return;
    again = setTimeout(() => {
      for (const name of refusals.keys()) dirty.add(name);
      request();
    }, waitMs);
    waitMs = Math.min(waitMs * 2, againMs);
  };

  /** Applies one request at a time. Changes that arrive meanwhile are applied together. */
  function request(): void {
    if (closed || applying !== undefined || (!whole && dirty.size === 0)) return;
    clearTimeout(again);
    applying = apply().then((isDone) => {
      applying = undefined;
      if (!isDone) again = closed ? undefined : setTimeout(request, againMs);
      else if (whole || dirty.size > 0) request();
      else askAgain();
    });
  }

  return {
    get size() {
      return held.size;
    },
    get names() {
      return [...held.keys()];
    },
    standing: () => held.values(),
    get refused() {
      return [...descriptions.unreadable.values(), ...refusals.values()];
    },
    list(entries) {
      const present = new Map(
        entries.flatMap(({ key, value }) => {
          const read = keys.read(key);
          return read.kind === 'service' ? [[read.name, value] as const] : [];
        }),
      );
      descriptions.keep((name) => present.has(name));
      for (const name of refusals.keys()) if (!present.has(name)) refusals.delete(name);
      for (const [name, value] of present) take(name, value);
      whole = true;
      request();
    },
    change(changes) {
      for (const { key, value } of changes) {
        const read = keys.read(key);
        if (read.kind === 'service') take(read.name, value);
      }
      request();
    },
    async close() {
      closed = true;
      clearTimeout(again);
      await applying;
    },
  };
}
