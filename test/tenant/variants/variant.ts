import type { ContainerConfig, PodConfig, SecurityContext } from '../../fixtures/pod.ts';
import type { Scene } from '../scene/scene.ts';

/** One set of values of a tenant's pod. Unset fields have the values of an ordinary pod. */
export interface Variant {
  readonly group: string;
  readonly name: string;
  readonly pod?: (config: PodConfig, scene: Scene) => PodConfig;
  readonly container?: (config: ContainerConfig, scene: Scene) => ContainerConfig;
  readonly handler?: string;
  /**
   * Running it would itself be a way out of the tenant's own pods: a mount of the host, its namespaces,
   * another tenant's image.
   */
  readonly mustRefuse?: true;
  /**
   * Services of networks that the pod joins, whose virtual address is the tenant's own while it has members.
   */
  readonly services?: readonly string[] | ((scene: Scene) => readonly string[]);
}

type Value<T> = T | ((scene: Scene) => T);

const valueOf = <T>(value: Value<T>, scene: Scene): T =>
  typeof value === 'function' ? (value as (scene: Scene) => T)(scene) : value;

/**
 * Returns the variants of one group: each row has a name, and `make` turns its value into the rest of the
 * variant.
 */
export function table<T>(
  group: string,
  rows: readonly (readonly [name: string, value: Value<T>])[],
  make: (value: Value<T>) => Omit<Variant, 'group' | 'name'>,
): Variant[] {
  return rows.map(([name, value]) => ({ group, name, ...make(value) }));
}

export const annotations = (
  value: Value<Readonly<Record<string, string>>>,
): Omit<Variant, 'group' | 'name'> => ({
  pod: (config, scene) => ({ ...config, annotations: { ...config.annotations, ...valueOf(value, scene) } }),
});

export const podPart = (value: Value<Partial<PodConfig>>): Omit<Variant, 'group' | 'name'> => ({
  pod: (config, scene) => ({ ...config, ...valueOf(value, scene) }),
});

export const metadata = (
  value: Value<Partial<NonNullable<PodConfig['metadata']>>>,
): Omit<Variant, 'group' | 'name'> => ({
  pod: (config, scene) => ({ ...config, metadata: { ...config.metadata, ...valueOf(value, scene) } }),
});

export const podLinux = (value: Value<NonNullable<PodConfig['linux']>>): Omit<Variant, 'group' | 'name'> => ({
  pod: (config, scene) => ({ ...config, linux: { ...config.linux, ...valueOf(value, scene) } }),
});

export const podSecurity = (
  value: Value<NonNullable<NonNullable<PodConfig['linux']>['securityContext']>>,
): Omit<Variant, 'group' | 'name'> => ({
  pod: (config, scene) => ({
    ...config,
    linux: {
      ...config.linux,
      securityContext: { ...config.linux?.securityContext, ...valueOf(value, scene) },
    },
  }),
});

export const containerPart = (value: Value<Partial<ContainerConfig>>): Omit<Variant, 'group' | 'name'> => ({
  container: (config, scene) => ({ ...config, ...valueOf(value, scene) }),
});

export const security = (value: Value<SecurityContext>): Omit<Variant, 'group' | 'name'> => ({
  container: (config, scene) => ({
    ...config,
    linux: {
      ...config.linux,
      securityContext: { ...config.linux?.securityContext, ...valueOf(value, scene) },
    },
  }),
});

export const resources = (
  value: Value<NonNullable<NonNullable<ContainerConfig['linux']>['resources']>>,
): Omit<Variant, 'group' | 'name'> => ({
  container: (config, scene) => ({ ...config, linux: { ...config.linux, resources: valueOf(value, scene) } }),
});

/** Marks the rows as variants that must be refused. */
export const never = (rows: readonly Variant[]): Variant[] =>
  rows.map((row) => ({ ...row, mustRefuse: true }));

export const long = (length: number, letter = 'a'): string => letter.repeat(length);
