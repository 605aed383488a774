import { canonical, wrongAddress } from '../description/short-forms.ts';
import { maxBackends, serviceNamePattern } from '../description/schema.ts';
import type { RefusedService, Service } from '../model/model.ts';
import { canonicalRange } from '../source-ranges/ranges.ts';

const name = new RegExp(serviceNamePattern, 'u');
const isPort = (number: number): boolean => Number.isInteger(number) && number > 0 && number < 65_536;

/**
 * Sources whose descriptions root writes on this host. A description from any other source could use a health
 * check to run any program of the host.
 */
const ownSources: ReadonlySet<string> = new Set(['command', 'files']);

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
  for (const field of ['addresses', 'externalAddresses', 'loadBalancerAddresses'] as const)
    for (const [index, text] of (service[field] ?? []).entries()) {
      const why = wrongAddress(text, 'virtual');
      if (why !== undefined) return wrong(`${field}.${index}`, why);
    }
  for (const [index, text] of (service.loadBalancerSourceRanges ?? []).entries())
    if (canonicalRange(text) === undefined)
      return wrong(`loadBalancerSourceRanges.${index}`, `${JSON.stringify(text)} is not a prefix`);
  const { ports, backends } = service;
  if (ports.length === 0) return wrong('ports', 'the service has no port');
  const seen = new Set<string>();
  for (const [index, port] of ports.entries()) {
    for (const number of [port.port, port.targetPort, port.nodePort ?? 1])
      if (!isPort(number)) return wrong(`ports.${index}`, `${number} is not a port`);
    const own = [`the name ${port.name}`, `${port.port}/${port.protocol}`];
    if (port.nodePort !== undefined) own.push(`the node port ${port.nodePort}/${port.protocol}`);
    // The texts of one port differ.
    const twice = ports.length === 1 ? undefined : own.find((each) => seen.has(each));
    if (twice !== undefined) return wrong(`ports.${index}`, `${twice} occurs twice`);
    if (ports.length > 1) for (const each of own) seen.add(each);
  }
  if (backends.length > maxBackends)
    return wrong('backends', `the service has ${backends.length} backends, more than ${maxBackends}`);
  for (const [index, { address, ports: own = {}, weight = 1 }] of backends.entries()) {
    const why = wrongAddress(address, 'backend');
    if (why !== undefined) return wrong(`backends.${index}`, why);
    const port = Object.values(own).find((each) => !isPort(each));
    if (port !== undefined) return wrong(`backends.${index}`, `${port} is not a port`);
    if (!Number.isInteger(weight) || weight < 0 || weight > 65_535)
      return wrong(`backends.${index}`, `${weight} is not a weight from 0 to 65535`);
  }
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
