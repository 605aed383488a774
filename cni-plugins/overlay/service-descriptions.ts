import { linesOf, readServices } from '../services/index.ts';
import type { Service } from '../services/index.ts';
import type { Keys } from './records/records.ts';

/** Descriptions of services in etcd, parsed. */
export interface ServiceDescriptions {
  /** @param value undefined when the description was removed */
  take(name: string, value: Buffer | undefined): void;
  /** Drops the descriptions for which it returns false. */
  keep(isPresent: (name: string) => boolean): void;
  /** By name. A service whose description can no longer be read stays unchanged. */
  readonly services: ReadonlyMap<string, Service>;
  /** Why a description cannot be read, by name. */
  readonly unreadable: ReadonlyMap<string, string>;
}

/** @param report called with each problem */
export function createServiceDescriptions(
  keys: Keys,
  report: (problem: string) => void,
): ServiceDescriptions {
  const services = new Map<string, Service>();
  const unreadable = new Map<string, string>();
  return {
    services,
    unreadable,
    take(name, value) {
      unreadable.delete(name);
      if (value === undefined) return void services.delete(name);
      const { service, wrong } = readDescription(name, keys.service(name), value.toString());
      if (wrong.length > 0) refuse(unreadable, name, wrong.join('; '), report);
      else if (service !== undefined) services.set(name, service);
    },
    keep(isPresent) {
      for (const each of [services, unreadable])
        for (const name of each.keys()) if (!isPresent(name)) each.delete(name);
    },
  };
}

/** Records the reason for a refusal. A reason that differs from the last one is reported. */
export function refuse(
  reasons: Map<string, string>,
  name: string,
  why: string,
  report: (problem: string) => void,
): void {
  if (reasons.get(name) !== why) report(why);
  reasons.set(name, why);
}

function readDescription(
  name: string,
  file: string,
  text: string,
): { readonly service: Service | undefined; readonly wrong: readonly string[] } {
  const { described, problems } = readServices([{ file, text }]);
  const [only, ...more] = described;
  const wrong = [
    ...linesOf(problems),
    ...(only !== undefined && (more.length > 0 || only.service.name !== name)
      ? [`${file}: it describes another service, or several`]
      : []),
  ];
  return { service: only?.service, wrong };
}
