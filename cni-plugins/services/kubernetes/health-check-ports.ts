import type { Family } from '../model/model.ts';
import type { KubernetesService } from './objects.ts';

export interface HealthCheckPort {
  readonly port: number;
  readonly namespace: string;
  readonly name: string;
  /** For each family of the service. */
  readonly localEndpoints: ReadonlyMap<Family, number>;
}

/** The ports at which load balancers ask whether a Service has endpoints on this node. No side effects. */
export interface HealthCheckPorts {
  put(key: string, service: KubernetesService | undefined): void;
  /** The Service or its endpoints changed: endpoints that were counted before are no longer valid. */
  changed(key: string): void;
  /** Returns the ports, and the answer for each. If none differs, it is the same list. */
  readonly list: () => readonly HealthCheckPort[];
}

/** @param countLocal counts the ready endpoints of a Service on this node */
export function createHealthCheckPorts(
  countLocal: (key: string) => ReadonlyMap<Family, number>,
): HealthCheckPorts {
  /** The endpoints of this node by the key of their Service, since it last changed. */
  const localEndpoints = new Map<string, ReadonlyMap<Family, number>>();
  const checked = new Map<string, Omit<HealthCheckPort, 'localEndpoints'>>();
  /** Undefined: an answer may have changed. */
  let ports: readonly HealthCheckPort[] | undefined;

  const localEndpointsOf = (key: string): ReadonlyMap<Family, number> => {
    const count = localEndpoints.get(key) ?? countLocal(key);
    localEndpoints.set(key, count);
    return count;
  };

  return {
    put(key, service) {
      if (service?.healthCheckNodePort !== undefined) {
        const { healthCheckNodePort: port, namespace, name } = service;
        checked.set(key, { port, namespace, name });
        ports = undefined;
      } else if (checked.delete(key)) ports = undefined;
    },
    changed(key) {
      if (localEndpoints.delete(key)) ports = undefined;
    },
    list: () =>
      (ports ??= [...checked].map(([key, port]) => ({ ...port, localEndpoints: localEndpointsOf(key) }))),
  };
}
