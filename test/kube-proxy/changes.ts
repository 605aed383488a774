import type { ApiObject, Collection } from './api.ts';
import { chance, conditionsOf, nameOf, pick, serviceOf, slicesOf } from './objects.ts';
import type { Random, ServiceObject, ServiceType, SliceObject } from './objects.ts';

/** The objects of the cluster, and random changes of them. */

export interface Change {
  readonly collection: Collection;
  readonly object: ApiObject;
  readonly removes?: true;
}

export interface Objects {
  readonly services: ReadonlyMap<string, ServiceObject>;
  /** By the name of their service. */
  readonly slices: ReadonlyMap<string, readonly SliceObject[]>;
}

export interface Changing extends Objects {
  /** Changes something at random, and says what. */
  change(): { readonly what: string; readonly changes: readonly Change[] };
}

const types: readonly ServiceType[] = ['ClusterIP', 'ExternalName', 'LoadBalancer', 'NodePort'];

/** @param most services at a time */
export function createObjects(random: Random, most: number): Changing {
  const services = new Map<string, ServiceObject>();
  const slices = new Map<string, readonly SliceObject[]>();
  const familyOf = (index: number): string => (index % 3 === 0 ? 'IPv6' : 'IPv4');
  const indexOf = (name: string): number => Number(name.split('-').at(-1));

  const putService = (service: ServiceObject): Change => {
    services.set(service.metadata.name, service);
    return { collection: 'services', object: service };
  };
  const putSlices = (name: string, next: readonly SliceObject[]): Change[] => {
    const names = new Set(next.map(({ metadata }) => metadata.name));
    const gone = (slices.get(name) ?? []).filter(({ metadata }) => !names.has(metadata.name));
    slices.set(name, next);
    return [
      ...next.map((object) => ({ collection: 'slices', object }) as const),
      ...gone.map((object) => ({ collection: 'slices', object, removes: true }) as const),
    ];
  };
  const inAnyOrder = (first: readonly Change[], second: readonly Change[]): readonly Change[] =>
    chance(random, 0.5) ? [...first, ...second] : [...second, ...first];

  const add = (index: number): readonly Change[] => {
    const service = serviceOf(random, index, familyOf(index));
    return inAnyOrder([putService(service)], putSlices(nameOf(index), slicesOf(random, service)));
  };
  const remove = (name: string): readonly Change[] => {
    const service = services.get(name)!;
    services.delete(name);
    const removal = { collection: 'services', object: service, removes: true } as const;
    return inAnyOrder([removal], putSlices(name, []));
  };
  /** Keeps the identity and what cannot change of the service. */
  const rewrite = (name: string, type?: ServiceType): readonly Change[] => {
    const { metadata } = services.get(name)!;
    const next = serviceOf(random, indexOf(name), familyOf(indexOf(name)), type);
    const same = { ...next, metadata: { ...next.metadata, uid: metadata.uid } };
    return inAnyOrder([putService(same)], chance(random, 0.5) ? putSlices(name, slicesOf(random, same)) : []);
  };
  const alter = (name: string): readonly Change[] => {
    const service = services.get(name)!;
    const { spec } = service;
    const flipped = (policy: string | undefined) => (policy === 'Local' ? 'Cluster' : 'Local');
    const isBalanced = spec.type === 'LoadBalancer';
    const local = flipped(spec.externalTrafficPolicy);
    const { healthCheckNodePort: _port, ...rest } = spec;
    const altered = pick(random, [
      { ...spec, internalTrafficPolicy: flipped(spec.internalTrafficPolicy) },
      { ...spec, sessionAffinity: spec.sessionAffinity === 'None' ? 'ClientIP' : 'None' },
      spec.externalTrafficPolicy === undefined
        ? spec
        : {
            ...rest,
            externalTrafficPolicy: local,
            ...(isBalanced && local === 'Local' && { healthCheckNodePort: 32_000 + indexOf(name) }),
          },
    ] as const);
    return [putService({ ...service, spec: altered as ServiceObject['spec'] })];
  };
  /** One endpoint gets other conditions in all slices, or is gone. */
  const endpoint = (name: string): readonly Change[] => {
    const present = [
      ...new Set(slices.get(name)!.flatMap((each) => each.endpoints.map((one) => one.addresses[0]!))),
    ];
    if (present.length === 0) return putSlices(name, slicesOf(random, services.get(name)!));
    const address = pick(random, present);
    const isGone = chance(random, 0.5);
    const conditions = conditionsOf(random);
    return putSlices(
      name,
      slices.get(name)!.map((slice) => ({
        ...slice,
        endpoints: slice.endpoints.flatMap((each) =>
          each.addresses[0] !== address ? [each] : isGone ? [] : [{ ...each, conditions }],
        ),
      })),
    );
  };
  const change = (): { what: string; changes: readonly Change[] } => {
    const names = [...services.keys()];
    const free = Array.from({ length: most }, (_, index) => index).filter(
      (each) => !services.has(nameOf(each)),
    );
    if (free.length > 0 && (names.length < most / 2 || chance(random, 0.4))) {
      const index = pick(random, free);
      return { what: `add ${nameOf(index)}`, changes: add(index) };
    }
    const name = pick(random, names);
    const kind = pick(random, [
      'alter',
      'alter',
      'endpoint',
      'endpoint',
      'endpoint',
      'remove',
      'rewrite',
      'slices',
      'type',
    ]);
    const changes = {
      alter: () => (services.get(name)!.spec.type === 'ExternalName' ? remove(name) : alter(name)),
      endpoint: () => endpoint(name),
      remove: () => remove(name),
      rewrite: () => rewrite(name),
      slices: () => putSlices(name, slicesOf(random, services.get(name)!)),
      type: () => rewrite(name, pick(random, types)),
    }[kind]!;
    return { what: `${kind} ${name}`, changes: changes() };
  };
  return { services, slices, change };
}
