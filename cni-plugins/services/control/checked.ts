import { canonical, servedByItself, wrongAddress } from '../description/short-forms.ts';
import { maxBackends, serviceNamePattern } from '../description/schema.ts';
import type { Backend, RefusedService, Service, ServicePort } from '../model/model.ts';
import { canonicalRange } from '../source-ranges/ranges.ts';

const name = new RegExp(serviceNamePattern, 'u');
const isPort = (number: number): boolean => Number.isInteger(number) && number > 0 && number < 65_536;

/**
 * Sources whose descriptions root writes on this host. A description from any other source could use a health
 * check to run any program of the host.
 */
const ownSources: ReadonlySet<string> = new Set(['command', 'files']);

/** Shared by all services that lack a list. */
const none: readonly string[] = Object.freeze([]);
const addressFields = ['addresses', 'externalAddresses', 'loadBalancerAddresses'] as const;

/** Returns the first entry with a problem. Nothing is created for the others: there may be thousands. */
function firstProblem<T>(
  all: readonly T[],
  problemOf: (one: T) => string | undefined,
): { readonly at: number; readonly why: string } | undefined {
  const at = all.findIndex((one) => problemOf(one) !== undefined);
  const found = all[at];
  const why = found === undefined ? undefined : problemOf(found);
  return why === undefined ? undefined : { at, why };
}

/** @param seen the texts of earlier ports, to which those of this one are added; absent: the only port */
function problemOfPort(described: ServicePort, seen: Set<string> | undefined): string | undefined {
  const { name: own, port, targetPort, nodePort, protocol } = described;
  const numbers = nodePort === undefined ? [port, targetPort] : [port, targetPort, nodePort];
  const number = numbers.find((each) => !isPort(each));
  if (number !== undefined) return `${number} is not a port`;
  if (seen === undefined) return undefined;
  const texts = [`the name ${own}`, `${port}/${protocol}`];
  if (nodePort !== undefined) texts.push(`the node port ${nodePort}/${protocol}`);
  const twice = texts.find((each) => seen.has(each));
  if (twice !== undefined) return `${twice} occurs twice`;
  for (const each of texts) seen.add(each);
  return undefined;
}

function problemOfBackend({ address, ports, weight = 1 }: Backend): string | undefined {
  const why = wrongAddress(address, 'backend');
  if (why !== undefined) return why;
  const port = ports && Object.values(ports).find((each) => !isPort(each));
  if (port !== undefined) return `${port} is not a port`;
  return Number.isInteger(weight) && weight >= 0 && weight <= 65_535
    ? undefined
    : `${weight} is not a weight from 0 to 65535`;
}

/**
 * Returns the service, from any source, with its addresses in canonical form, or what is wrong with it. Pure.
 */
export function checked(source: string, service: Service): Service | RefusedService {
  const wrong = (field: string, why: string): RefusedService => ({
    name: service.name,
    code: 'NETWORK_SERVICE_INVALID',
    field,
    why,
  });
  if (service.name.length > 253 || !name.test(service.name))
    return wrong('name', 'it is not a valid service name');
  for (const field of addressFields) {
    const found = firstProblem(service[field] ?? none, (text) => wrongAddress(text, 'virtual'));
    if (found !== undefined) return wrong(`${field}.${found.at}`, found.why);
  }
  const { ports, backends, loadBalancerSourceRanges: ranges = none } = service;
  const atRange = ranges.findIndex((text) => canonicalRange(text) === undefined);
  if (atRange !== -1)
    return wrong(`loadBalancerSourceRanges.${atRange}`, `${JSON.stringify(ranges[atRange])} is not a prefix`);
  if (ports.length === 0) return wrong('ports', 'the service has no port');
  // The texts of one port differ.
  const seen = ports.length === 1 ? undefined : new Set<string>();
  const ofPorts = firstProblem(ports, (port) => problemOfPort(port, seen));
  if (ofPorts !== undefined) return wrong(`ports.${ofPorts.at}`, ofPorts.why);
  if (backends.length > maxBackends)
    return wrong('backends', `the service has ${backends.length} backends, more than ${maxBackends}`);
  const ofBackends = firstProblem(
    backends,
    (backend) => problemOfBackend(backend) ?? servedByItself(service, backend),
  );
  if (ofBackends !== undefined) return wrong(`backends.${ofBackends.at}`, ofBackends.why);
  if (service.healthCheck?.kind === 'exec' && !ownSources.has(source)) {
    const why = `only services that are described on this host may run programs as checks, not services from ${source}; use a tcp or http check`;
    return { name: service.name, code: 'NETWORK_SERVICE_UNSUPPORTED', field: 'healthCheck.exec', why };
  }
  if (isCanonical(service)) return service;
  return {
    ...service,
    ...addressesOf(service),
    backends: backends.map((backend) => ({ ...backend, address: canonical(backend.address) })),
  };
}

/** A comparison of each with each is cheap for this many. */
const fewAddresses = 8;

/** Whether the service has no source ranges, and few addresses, which differ and are in canonical form. */
function isCanonical(service: Service): boolean {
  const { addresses, externalAddresses, loadBalancerAddresses = [], loadBalancerSourceRanges } = service;
  const own = [...addresses, ...externalAddresses, ...loadBalancerAddresses];
  return (
    loadBalancerSourceRanges === undefined &&
    own.length <= fewAddresses &&
    own.every((text, at) => own.indexOf(text) === at && canonical(text) === text) &&
    service.backends.every(({ address }) => canonical(address) === address)
  );
}

/**
 * Returns each address once. An address in several lists counts as a load balancer address first, then as
 * virtual, then as external, so that its restriction applies in any case.
 */
function addressesOf(service: Service): Partial<Service> {
  const { loadBalancerAddresses, loadBalancerSourceRanges: ranges } = service;
  const found = new Set<string>();
  const others = (texts: readonly string[]): string[] =>
    texts.map(canonical).filter((address) => {
      const isNew = !found.has(address);
      found.add(address);
      return isNew;
    });
  return {
    ...(loadBalancerAddresses !== undefined && { loadBalancerAddresses: others(loadBalancerAddresses) }),
    ...(ranges !== undefined && {
      loadBalancerSourceRanges: [...new Set(ranges.map((text) => canonicalRange(text) ?? text))],
    }),
    addresses: others(service.addresses),
    externalAddresses: others(service.externalAddresses),
  };
}
