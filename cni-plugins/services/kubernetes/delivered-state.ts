import { hash } from 'node:crypto';
import type { Service } from '../model/model.ts';
import { serializeService } from '../model/serialized-service.ts';
import { namesOf } from './translate.ts';
import type { Translation } from './translate.ts';

export interface Changes {
  readonly put: readonly Service[];
  /** Names of services. */
  readonly remove: readonly string[];
  /** By Kubernetes name: new notes about requests of a Service that are not fulfilled. */
  readonly notes: ReadonlyMap<string, readonly string[]>;
}

/** Changes that are being collected. */
export interface CollectedChanges extends Changes {
  readonly put: Service[];
  readonly remove: string[];
  readonly notes: Map<string, readonly string[]>;
}

/** The delivered state of each Kubernetes service. */
export interface DeliveredState {
  /**
   * Adds to `changes` what differs from the delivered state, and counts it as delivered.
   * @param key the name of the Kubernetes service
   * @param now absent: the Kubernetes service is gone
   */
  advance(key: string, now: Translation | undefined, changes: CollectedChanges): void;
  /** Nothing counts as delivered any more. */
  clear(): void;
}

/** 48 bits of SHA-1: a digest that changes with the service's content. */
const digestOf = (service: Service): number =>
  Number.parseInt(hash('sha1', serializeService(service), 'hex').slice(0, 12), 16);

export function createDeliveredState(): DeliveredState {
  /** Digests of what was delivered, by our names, and notes by Kubernetes names. */
  const reported = new Map<string, number>();
  const noted = new Map<string, string>();
  /** Kubernetes names of services with addresses for outside clients, which few have. */
  const outward = new Set<string>();
  return {
    advance(key, now, { put, remove, notes }) {
      for (const one of now?.services ?? []) {
        const digest = digestOf(one);
        if (reported.get(one.name) !== digest) put.push(one);
        reported.set(one.name, digest);
      }
      const [inside, outside] = namesOf(key);
      const has = (name: string): boolean => now?.services.some((one) => one.name === name) === true;
      if (!has(inside) && reported.delete(inside)) remove.push(inside);
      if (has(outside)) outward.add(key);
      else if (outward.delete(key) && reported.delete(outside)) remove.push(outside);
      const said = now?.notes.join('; ') ?? '';
      if (said === '' && noted.size === 0) return;
      if (now !== undefined && said !== (noted.get(key) ?? '')) notes.set(key, now.notes);
      if (said === '') noted.delete(key);
      else noted.set(key, said);
    },
    clear() {
      reported.clear();
      noted.clear();
      outward.clear();
    },
  };
}
