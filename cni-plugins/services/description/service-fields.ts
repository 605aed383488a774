import type { PathSegment } from '../../../base/schema/index.ts';
import type { Backend, HealthCheck, Scheduler, Service, ServicePort } from '../model/model.ts';
import { canonicalRange } from '../source-ranges/ranges.ts';
import { canonical, placeOf, secondsOf, servedByItself, shortPortOf, wrongAddress } from './short-forms.ts';

/** Converts a document that matches the schema to a service. Pure. */

export type Path = readonly PathSegment[];
/** Reports a problem that the schema cannot express. */
export type Report = (path: Path, message: string, fix: string) => void;

interface WrittenPort {
  readonly name?: string;
  readonly protocol?: ServicePort['protocol'];
  readonly port: number;
  readonly targetPort?: number;
  readonly nodePort?: number;
}

interface WrittenBackend {
  readonly address: string;
  readonly port?: number;
  readonly ports?: Readonly<Record<string, number>>;
  readonly weight?: number;
  readonly draining?: boolean;
}

interface WrittenHealthCheck {
  readonly tcp?: object;
  readonly http?: { readonly path?: string; readonly host?: string; readonly status?: readonly number[] };
  readonly exec?: { readonly command: readonly string[] };
  readonly port?: string;
  readonly interval?: string;
  readonly timeout?: string;
  readonly failures?: number;
  readonly successes?: number;
}

export interface WrittenService {
  readonly metadata: { readonly name: string };
  readonly addresses?: readonly string[];
  readonly externalAddresses?: readonly string[];
  readonly loadBalancerAddresses?: readonly string[];
  readonly loadBalancerSourceRanges?: readonly string[];
  readonly ports: readonly (number | string | WrittenPort)[];
  readonly scheduler?: Scheduler;
  readonly clientAffinity?: boolean;
  readonly persistence?: string;
  readonly forwarding?: Service['forwarding'];
  readonly sourceAddress?: Service['sourceAddress'];
  readonly drainGrace?: string;
  readonly healthCheck?: WrittenHealthCheck;
  readonly backends?: readonly (string | WrittenBackend)[];
}

/**
 * Converts as far as possible. If anything is reported, the result is not used as a service.
 * @param reportAcross reports a problem between parts. Where a part is left out because it has a problem,
 * what refers to it only looks wrong
 */
export function serviceOf(spec: WrittenService, report: Report, reportAcross: Report = report): Service {
  const addresses = addressesOf(spec.addresses ?? [], 'addresses', [], report);
  const externalAddresses = addressesOf(spec.externalAddresses ?? [], 'externalAddresses', addresses, report);
  const loadBalancerAddresses = addressesOf(
    spec.loadBalancerAddresses ?? [],
    'loadBalancerAddresses',
    [...addresses, ...externalAddresses],
    report,
  );
  const loadBalancerSourceRanges = rangesOf(spec, report, reportAcross);
  const ports = portsOf(spec.ports, report);
  const backends = backendsOf(spec.backends ?? [], { addresses, ports }, report, reportAcross);
  const weighed = backends.some(({ weight }) => weight !== undefined && weight > 1);
  const written = addressFields.reduce((count, field) => count + (spec[field]?.length ?? 0), 0);
  if (written === 0 && !ports.some(({ nodePort }) => nodePort !== undefined))
    reportAcross(
      ['ports'],
      'no client can connect, because the service has no address and no nodePort',
      'add addresses, externalAddresses, or a nodePort',
    );
  if (spec.scheduler === 'rr' && weighed)
    report(['scheduler'], 'rr does not support weights', 'use wrr, or remove the weights');
  checkFamilies(
    spec,
    { addresses: [...addresses, ...externalAddresses, ...loadBalancerAddresses], ports, backends },
    reportAcross,
  );
  if (spec.forwarding === 'dsr') checkDirect(spec, ports, backends, report);
  const healthCheck =
    spec.healthCheck === undefined ? undefined : healthCheckOf(spec.healthCheck, ports, report, reportAcross);
  if (spec.persistence !== undefined && secondsOf(spec.persistence) < 1)
    report(['persistence'], 'must be one second or more', 'to turn persistence off, remove the field');
  return {
    name: spec.metadata.name,
    addresses,
    externalAddresses,
    ...(loadBalancerAddresses.length > 0 && { loadBalancerAddresses }),
    ...(loadBalancerSourceRanges !== undefined && { loadBalancerSourceRanges }),
    ports,
    scheduler: spec.scheduler ?? (weighed ? 'wrr' : 'rr'),
    clientAffinity: spec.clientAffinity ?? false,
    ...(spec.persistence !== undefined && { persistenceSeconds: secondsOf(spec.persistence) }),
    forwarding: spec.forwarding ?? 'nat',
    sourceAddress: spec.sourceAddress ?? 'keep',
    drainGraceSeconds: secondsOf(spec.drainGrace ?? '30s'),
    ...(healthCheck !== undefined && { healthCheck }),
    backends,
  };
}

const addressFields = ['addresses', 'externalAddresses', 'loadBalancerAddresses'] as const;

/** Every family that has an address needs a range: a family without a range would be open. */
function rangesOf(
  { loadBalancerAddresses = [], loadBalancerSourceRanges: texts }: WrittenService,
  report: Report,
  reportAcross: Report,
): string[] | undefined {
  if (texts === undefined) return undefined;
  const field = 'loadBalancerSourceRanges';
  const found: string[] = [];
  texts.forEach((text, index) => {
    const range = canonicalRange(text);
    if (range === undefined)
      return report(
        [field, index],
        `${JSON.stringify(text)} is not a prefix`,
        'write a prefix such as 192.0.2.0/24 or 2001:db8::/32',
      );
    if (found.includes(range)) report([field, index], `${text} occurs twice`, 'remove one of them');
    found.push(range);
  });
  if (loadBalancerAddresses.length === 0)
    reportAcross(
      [field],
      'the ranges have no effect without loadBalancerAddresses',
      'add loadBalancerAddresses, or remove the ranges',
    );
  loadBalancerAddresses.forEach((text, index) => {
    if (
      wrongAddress(text, 'virtual') === undefined &&
      found.length === texts.length &&
      !found.some((range) => familyOf(range) === familyOf(text))
    )
      reportAcross(
        ['loadBalancerAddresses', index],
        `no range allows clients to connect by IPv${familyOf(text)} to ${text}`,
        `add a range; to allow every client, write ${familyOf(text) === 4 ? '0.0.0.0/0' : '::/0'}`,
      );
  });
  return found;
}

function addressesOf(
  texts: readonly string[],
  field: string,
  others: readonly string[],
  report: Report,
): string[] {
  const found: string[] = [];
  texts.forEach((text, index) => {
    const wrong = wrongAddress(text, 'virtual');
    if (wrong !== undefined)
      return report([field, index], wrong, 'write an IPv4 or IPv6 address without a prefix');
    const address = canonical(text);
    if (found.includes(address) || others.includes(address))
      report([field, index], `${text} occurs twice`, 'remove one of them');
    found.push(address);
  });
  return found;
}

function portsOf(all: WrittenService['ports'], report: Report): ServicePort[] {
  const ports: ServicePort[] = [];
  all.forEach((written, index) => {
    const {
      name,
      protocol = 'tcp',
      port,
      targetPort = port,
      nodePort,
    }: WrittenPort = typeof written === 'object' ? written : shortPortOf(String(written));
    for (const number of new Set([port, targetPort]))
      if (number < 1 || number > 65_535)
        report(['ports', index], `${number} is not a port`, 'write 1 to 65535');
    const called = name ?? `${protocol}-${port}`;
    const same = ports.find((other) => other.protocol === protocol && other.port === port);
    if (same !== undefined)
      report(['ports', index], `${port}/${protocol} occurs twice`, 'remove one of them');
    else if (ports.some((other) => other.name === called))
      report(['ports', index], `the name ${called} occurs twice`, 'use another name');
    if (
      nodePort !== undefined &&
      ports.some((other) => other.protocol === protocol && other.nodePort === nodePort)
    )
      report(
        ['ports', index, 'nodePort'],
        `the node port ${nodePort}/${protocol} occurs twice`,
        'use another node port',
      );
    ports.push({ name: called, protocol, port, targetPort, ...(nodePort !== undefined && { nodePort }) });
  });
  return ports;
}

function backendsOf(
  all: NonNullable<WrittenService['backends']>,
  { addresses, ports }: Pick<Service, 'addresses' | 'ports'>,
  report: Report,
  reportAcross: Report,
): Backend[] {
  const seen = new Set<string>();
  return all.flatMap((written, index): Backend[] => {
    const path: Path = ['backends', index];
    const {
      address: text,
      port,
      ports: named = {},
      weight,
      draining,
    }: WrittenBackend = typeof written === 'string' ? placeOf(written) : written;
    const wrong = wrongAddress(text, 'backend');
    if (wrong !== undefined) {
      report(
        typeof written === 'string' ? path : [...path, 'address'],
        wrong,
        'write an IPv4 or IPv6 address, or an address with a port: 10.0.0.2:8080 or [fd00::2]:8080',
      );
      return [];
    }
    if (port !== undefined && (port < 1 || port > 65_535))
      report(path, `${port} is not a port`, 'write 1 to 65535');
    for (const name of Object.keys(named))
      if (!ports.some((one) => one.name === name))
        reportAcross(
          [...path, 'ports', name],
          `the service has no port ${name}`,
          `use one of ${ports.map((one) => one.name).join(', ')}`,
        );
    const own = Object.fromEntries(
      ports.flatMap(({ name, targetPort }) => {
        const number = (Object.hasOwn(named, name) ? named[name] : undefined) ?? port ?? targetPort;
        return number === targetPort ? [] : [[name, number] as const];
      }),
    );
    const address = canonical(text);
    const key = JSON.stringify([address, own]);
    if (seen.has(key))
      report(
        path,
        `the backend ${address} occurs twice`,
        'remove one of them; for a larger share, set a weight',
      );
    seen.add(key);
    const backend: Backend = {
      address,
      ...(Object.keys(own).length > 0 && { ports: own }),
      ...(weight !== undefined && { weight }),
      ...(draining === true && { draining }),
    };
    const itself = servedByItself({ addresses, ports }, backend);
    if (itself !== undefined) report(path, itself, 'use the address of a server');
    return [backend];
  });
}

const familyOf = (address: string): 4 | 6 => (address.includes(':') ? 6 : 4);

/**
 * A packet keeps its family: an address needs backends of its family, and a backend needs such an address.
 */
function checkFamilies(
  spec: WrittenService,
  { addresses, ports, backends }: Pick<Service, 'addresses' | 'ports' | 'backends'>,
  report: Report,
): void {
  if (backends.length === 0) return;
  const answered = new Set(backends.map(({ address }) => familyOf(address)));
  for (const field of addressFields)
    (spec[field] ?? []).forEach((text, index) => {
      if (wrongAddress(text, 'virtual') === undefined && !answered.has(familyOf(text)))
        report(
          [field, index],
          `no backend has an IPv${familyOf(text)} address, which ${text} needs`,
          'add such a backend, or remove the address',
        );
    });
  if (ports.some(({ nodePort }) => nodePort !== undefined) || addresses.length === 0) return;
  const reached = new Set(addresses.map(familyOf));
  (spec.backends ?? []).forEach((written, index) => {
    const { address } = typeof written === 'string' ? placeOf(written) : written;
    if (wrongAddress(address, 'backend') === undefined && !reached.has(familyOf(address)))
      report(
        ['backends', index],
        `the service has no IPv${familyOf(address)} address that could lead to ${address}`,
        'add such an address, or remove the backend',
      );
  });
}

/** With direct server return the backend gets the packet unchanged: nothing in it can be rewritten. */
function checkDirect(
  spec: WrittenService,
  ports: readonly ServicePort[],
  backends: readonly Backend[],
  report: Report,
): void {
  ports.forEach((port, index) => {
    if (port.targetPort !== port.port)
      report(
        ['ports', index],
        'with forwarding: dsr, the backend must have the same port',
        'remove targetPort',
      );
    if (port.nodePort !== undefined)
      report(['ports', index], 'with forwarding: dsr, node ports are not supported', 'remove nodePort');
  });
  backends.forEach((backend, index) => {
    if (backend.ports !== undefined)
      report(
        ['backends', index],
        'with forwarding: dsr, the backend must have the same port',
        'remove its port',
      );
  });
  if (spec.sourceAddress === 'masquerade')
    report(
      ['sourceAddress'],
      'with forwarding: dsr, the source address cannot be changed',
      'use keep, or forwarding: nat',
    );
}

function healthCheckOf(
  spec: WrittenHealthCheck,
  ports: readonly ServicePort[],
  report: Report,
  reportAcross: Report,
): HealthCheck | undefined {
  const kinds = (['tcp', 'http', 'exec'] as const).filter((kind) => spec[kind] !== undefined);
  const path: Path = ['healthCheck'];
  if (kinds.length !== 1) {
    reportAcross(
      path,
      kinds.length === 0
        ? 'the kind of check is missing'
        : `there is more than one kind of check: ${kinds.join(' and ')}`,
      'write one of tcp: {}, http: {} or exec: {command: []}',
    );
    return undefined;
  }
  const checked = spec.port === undefined ? ports[0] : ports.find(({ name }) => name === spec.port);
  if (checked === undefined)
    reportAcross(
      [...path, 'port'],
      `the service has no port ${spec.port ?? ''}`,
      `use one of ${ports.map(({ name }) => name).join(', ')}`,
    );
  else if (checked.protocol !== 'tcp' && spec.exec === undefined)
    reportAcross(
      path,
      `the port ${checked.name} uses ${checked.protocol}, which only exec can check`,
      'set port to the name of a tcp port, or use exec',
    );
  const common = {
    ...(spec.port !== undefined && { port: spec.port }),
    intervalSeconds: secondsOf(spec.interval ?? '5s'),
    timeoutSeconds: secondsOf(spec.timeout ?? '2s'),
    failures: spec.failures ?? 3,
    successes: spec.successes ?? 2,
  };
  for (const [field, value] of [
    ['interval', common.intervalSeconds],
    ['timeout', common.timeoutSeconds],
  ] as const)
    if (value < 1 || value > 3600)
      report([...path, field], 'must be from one second to one hour', 'write 1s to 1h');
  if (spec.http !== undefined)
    return {
      ...common,
      kind: 'http',
      path: spec.http.path ?? '/',
      ...(spec.http.host !== undefined && { host: spec.http.host }),
      status: spec.http.status ?? [],
    };
  if (spec.exec === undefined) return { ...common, kind: 'tcp' };
  if (spec.exec.command[0]?.startsWith('/') !== true)
    reportAcross(
      [...path, 'exec', 'command', 0],
      'the path of the program is not absolute',
      'write the absolute path, such as /usr/local/bin/check',
    );
  return { ...common, kind: 'exec', command: spec.exec.command };
}
