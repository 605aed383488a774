import { keyOf } from '../model.ts';
import type { ServerKey, Service } from '../model.ts';
import { expand } from './expand.ts';

/** Which service has which address, protocol and port of the host: none has another's. */
export interface Claims {
  /** The first that another has: a service by name, or `other` in words; undefined: all are free for it. */
  taken(
    service: Service,
  ): { readonly holder?: string; readonly other?: string; readonly key: ServerKey; readonly field: string } | undefined;
  /** By name. */
  holderOf(key: ServerKey): string | undefined;
  add(service: Service): void;
  remove(service: Service): void;
}

const alive = { drained: false, unwell: false };

/** The virtual servers of a service, each with the field that speaks of it. */
export function claimsOf(service: Service): { readonly key: ServerKey; readonly field: string }[] {
  return expand({ ...service, backends: service.backends.slice(0, 0).concat(nodeFamilies(service)) }, () => alive).map((server) => ({
    key: keyOf(server),
    field: server.address === undefined ? 'ports' : addressField(service, server.address),
  }));
}

function addressField(service: Service, address: string): string {
  const fields = ['addresses', 'externalAddresses', 'loadBalancerAddresses'] as const;
  const field = fields.find((each) => service[each]?.includes(address) === true) ?? 'addresses';
  return `${field}.${service[field]?.indexOf(address) ?? 0}`;
}

/** One backend of each family is enough to tell which node ports there are. */
function nodeFamilies({ backends }: Service): Service['backends'] {
  const four = backends.find(({ address }) => !address.includes(':'));
  const six = backends.find(({ address }) => address.includes(':'));
  return [four, six].filter((each) => each !== undefined);
}

/** @param otherHolder who has it that is no service, in words */
export function createClaims(otherHolder: (key: ServerKey) => string | undefined): Claims {
  const holders = new Map<ServerKey, string>();
  return {
    taken(service) {
      for (const { key, field } of claimsOf(service)) {
        const holder = holders.get(key);
        if (holder !== undefined && holder !== service.name) return { holder, key, field };
        const other = holder === undefined ? otherHolder(key) : undefined;
        if (other !== undefined) return { other, key, field };
      }
      return undefined;
    },
    holderOf: (key) => holders.get(key),
    add(service) {
      for (const { key } of claimsOf(service)) holders.set(key, service.name);
    },
    remove(service) {
      for (const { key } of claimsOf(service)) if (holders.get(key) === service.name) holders.delete(key);
    },
  };
}
