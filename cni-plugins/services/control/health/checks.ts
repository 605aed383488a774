import pLimit from 'p-limit';
import type { Backend, HealthCheck, Service, ServicePort } from '../../model/model.ts';
import { portAt } from '../../model/port-at.ts';
import { notRun } from './probe.ts';
import type { Probed, probe } from './probe.ts';

/** Checks the backends of services, each at its own interval. */
export interface HealthChecks {
  /** Checks the service as described now. Results of backends that stay are kept. */
  follow(service: Service): void;
  forget(name: string): void;
  /** Returns the failure of the last check. Undefined: no check has ended yet, or the last one succeeded. */
  why(name: string, backend: string): string | undefined;
  isChecked(name: string, backend: string): boolean;
  close(): void;
}

export interface HealthOptions {
  readonly probe: typeof probe;
  /** Called after enough equal results in a row. @param backend by {@link healthIdOf} */
  onJudged(name: string, backend: string, isWell: boolean): void;
  /** Whether the backend currently counts as healthy. */
  isWell(name: string, backend: string): boolean;
  /** In [0, 1). */
  random(): number;
}

/** The most checks that run at once. The others wait. */
const mostAtOnce = 128;

/** Returns the port that is checked. */
export function checkedPortOf({
  healthCheck,
  ports,
}: Pick<Service, 'healthCheck' | 'ports'>): ServicePort | undefined {
  return ports.find(({ name }) => name === healthCheck?.port) ?? ports[0];
}

/** Identifies a backend among those of a service: its address, and the port that is checked. */
export function healthIdOf(backend: Backend, port: ServicePort | undefined): string {
  return `${backend.address} ${port === undefined ? 0 : portAt(backend, port)}`;
}

interface Checked {
  check: HealthCheck;
  readonly backend: Probed;
  /** Consecutive results that contradict the current state. */
  against: number;
  why?: string;
  timer?: NodeJS.Timeout;
  ended: boolean;
  hasEnded: boolean;
}

export function createHealthChecks({ probe, onJudged, isWell, random }: HealthOptions): HealthChecks {
  const services = new Map<string, Map<string, Checked>>();
  const limit = pLimit(mostAtOnce);

  const later = (name: string, id: string, each: Checked, ms: number): void => {
    each.timer = setTimeout(() => {
      const { check } = each;
      const begun = performance.now();
      void limit(async () => {
        if (each.ended) return;
        const result = await probe(check, each.backend);
        if (result !== notRun) hear(name, id, each, result);
      }).finally(() => {
        if (each.ended) return;
        const interval = each.check.intervalSeconds * 1000;
        // The interval varies by a tenth, so that checks that start together do not stay together.
        later(name, id, each, Math.max(0, interval * (0.9 + 0.2 * random()) - (performance.now() - begun)));
      });
    }, ms);
  };

  const hear = (name: string, id: string, each: Checked, why: string | undefined): void => {
    if (each.ended) return;
    each.hasEnded = true;
    if (why === undefined) delete each.why;
    else each.why = why;
    const taken = isWell(name, id);
    const found = why === undefined;
    each.against = found === taken ? 0 : each.against + 1;
    if (each.against < (taken ? each.check.failures : each.check.successes)) return;
    if (found === taken) return;
    each.against = 0;
    onJudged(name, id, found);
  };

  const stop = (each: Checked): void => {
    each.ended = true;
    clearTimeout(each.timer);
  };

  const forget = (name: string): void => {
    services.get(name)?.forEach(stop);
    services.delete(name);
  };

  return {
    forget,
    follow(service) {
      const { name, healthCheck: check, backends } = service;
      if (check === undefined) return forget(name);
      const before = services.get(name) ?? new Map<string, Checked>();
      const after = new Map<string, Checked>();
      const port = checkedPortOf(service);
      for (const backend of backends) {
        if (backend.draining === true || port === undefined || backend.without?.includes(port.name) === true)
          continue;
        const id = healthIdOf(backend, port);
        if (after.has(id)) continue;
        const exists = before.get(id);
        if (exists !== undefined) {
          exists.check = check;
          after.set(id, exists);
          continue;
        }
        const made: Checked = {
          check,
          backend: { address: backend.address, port: portAt(backend, port) },
          against: 0,
          ended: false,
          hasEnded: false,
        };
        after.set(id, made);
        // Soon, but not all at the same moment.
        later(name, id, made, random() * Math.min(check.intervalSeconds, 5) * 1000);
      }
      for (const [id, each] of before) if (after.get(id) !== each) stop(each);
      services.set(name, after);
    },
    why: (name, backend) => services.get(name)?.get(backend)?.why,
    isChecked: (name, backend) => services.get(name)?.get(backend)?.hasEnded === true,
    close() {
      for (const name of [...services.keys()]) forget(name);
    },
  };
}
