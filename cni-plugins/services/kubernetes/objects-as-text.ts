import { parseJson } from '../../../base/json/index.ts';
import type { Endpoint, EndpointSlice, KubernetesService } from './objects.ts';

/**
 * Services and EndpointSlices as texts. There are thousands, few change, and as objects they would take five
 * times as much. Pure.
 */
export type PackedService = string;
export type PackedSlice = string;

/** The fields that nearly every Service has as they are here. A text lacks them. */
const usualFields = Object.freeze({
  externalIPs: Object.freeze([]) as readonly string[],
  ingressIPs: Object.freeze([]) as readonly string[],
  sourceRanges: Object.freeze([]) as readonly string[],
  externalLocal: false,
  internalLocal: false,
  annotations: Object.freeze({}),
});

/** Undefined: the text lacks the field. */
const ifAny = (texts: readonly string[]): readonly string[] | undefined =>
  texts.length === 0 ? undefined : texts;
const ifSet = (is: boolean): true | undefined => (is ? true : undefined);

export function packService(service: KubernetesService): PackedService {
  const { externalIPs, ingressIPs, sourceRanges, externalLocal, internalLocal, annotations } = service;
  return JSON.stringify({
    ...service,
    externalIPs: ifAny(externalIPs),
    ingressIPs: ifAny(ingressIPs),
    sourceRanges: ifAny(sourceRanges),
    externalLocal: ifSet(externalLocal),
    internalLocal: ifSet(internalLocal),
    annotations: Object.keys(annotations).length === 0 ? undefined : annotations,
  });
}

/** @param packed by {@link packService} */
export const unpackService = (packed: PackedService): KubernetesService => ({
  ...usualFields,
  ...(parseJson(packed) as Omit<KubernetesService, keyof typeof usualFields>),
});

interface PackedFields extends Omit<EndpointSlice, 'endpoints'> {
  readonly endpoints: readonly (Endpoint | string)[];
}

/** An endpoint that is ready is only its address, and after a blank its node. */
export function packSlice({ namespace, name, service, ports, endpoints }: EndpointSlice): PackedSlice {
  return JSON.stringify({
    namespace,
    name,
    service,
    ports,
    endpoints: endpoints.map(packEndpoint),
  } satisfies PackedFields);
}

/** @param packed by {@link packSlice} */
export function unpackSlice(packed: PackedSlice): EndpointSlice {
  const { namespace, name, service, ports, endpoints } = parseJson(packed) as PackedFields;
  return { namespace, name, service, ports, endpoints: endpoints.map(unpackEndpoint) };
}

function packEndpoint(endpoint: Endpoint): Endpoint | string {
  const { address, ready, serving, terminating, node, forNodes, forZones } = endpoint;
  const isUsual = ready && serving && !terminating && forNodes === undefined && forZones === undefined;
  if (!isUsual || address.includes(' ')) return endpoint;
  return node === undefined ? address : `${address} ${node}`;
}

function unpackEndpoint(packed: Endpoint | string): Endpoint {
  if (typeof packed !== 'string') return packed;
  const blank = packed.indexOf(' ');
  const usual = { ready: true, serving: true, terminating: false };
  return blank === -1
    ? { address: packed, ...usual }
    : { address: packed.slice(0, blank), ...usual, node: packed.slice(blank + 1) };
}
