import { PortcullisError } from '../../base/errors/index.ts';
import { contains, formatIp, parseIp, parsePrefix } from '../../base/addresses/index.ts';
import type { Membership, MemberPort } from './memberships.ts';

/**
 * The permissions that a network's file gives its members for services, in the configuration of its first
 * plugin. The author of that file is root on the host; a client that joins a service is not. Unless the file
 * allows it, nothing of the host is opened. Pure.
 */
export interface ServiceRules {
  /** Absent: no ingress port. */
  readonly ingress?: IngressRules;
  /** Services whose members may belong to several namespaces; `*` means all. */
  readonly sharedServices: readonly string[];
  /** The highest number of services of this network that one namespace may have at a time. */
  readonly servicesPerNamespace: number;
  /** Prefixes from which members may choose virtual addresses if the network leases none. */
  readonly virtualAddresses: readonly string[];
}

/** Host ports that services may use. */
export interface IngressRules {
  /** Namespaces of the members; `*` matches any characters. */
  readonly namespaces: readonly string[];
  /** First and last port of each range. */
  readonly ports: readonly (readonly [number, number])[];
  /** Whether ports below 1024 are allowed. */
  readonly privilegedPorts: boolean;
  /** Whether ports on which a program of the host has a socket are allowed. */
  readonly heldPorts: boolean;
}

/** Fields of a plugin's configuration. */
export const serviceRuleFields = [
  'ingress',
  'sharedServices',
  'servicesPerNamespace',
  'virtualAddresses',
] as const;

export const usualServicesPerNamespace = 64;
const firstUnprivileged = 1024;
const mostServices = 65_536;
const ingressFields = ['namespaces', 'ports', 'privilegedPorts', 'heldPorts'];
const namespacePattern = /^[A-Za-z0-9_.:@*()-]{1,253}$/u;
const servicePattern = /^(?:\*|[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)$/u;

type Fields = Readonly<Record<string, unknown>>;

export const noServiceRules: ServiceRules = {
  sharedServices: [],
  servicesPerNamespace: usualServicesPerNamespace,
  virtualAddresses: [],
};

/** Reads the rules. @returns the rules, or the invalid field and its problem */
export function readServiceRules(
  config: Fields,
): ServiceRules | { readonly field: string; readonly problem: string } {
  const {
    ingress,
    sharedServices = [],
    servicesPerNamespace = usualServicesPerNamespace,
    virtualAddresses = [],
  } = config;
  if (!isTexts(sharedServices) || !sharedServices.every((name) => servicePattern.test(name)))
    return { field: 'sharedServices', problem: 'it must be a list of names of services, or of *' };
  if (
    !Number.isInteger(servicesPerNamespace) ||
    Number(servicesPerNamespace) < 0 ||
    Number(servicesPerNamespace) > mostServices
  )
    return { field: 'servicesPerNamespace', problem: `it must be a whole number from 0 to ${mostServices}` };
  if (!isTexts(virtualAddresses) || !virtualAddresses.every((text) => parsePrefix(text) !== undefined))
    return { field: 'virtualAddresses', problem: 'it must be a list of prefixes, as in 10.0.0.0/28' };
  const read = ingress === undefined || ingress === null ? undefined : readIngress(ingress);
  if (read !== undefined && 'problem' in read) return read;
  return {
    ...(read !== undefined && { ingress: read }),
    sharedServices,
    servicesPerNamespace: Number(servicesPerNamespace),
    virtualAddresses,
  };
}

function readIngress(value: unknown): IngressRules | { readonly field: string; readonly problem: string } {
  const wrong = (field: string, problem: string): { field: string; problem: string } => ({ field, problem });
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return wrong('ingress', 'it must be an object');
  const { namespaces = [], ports = [], privilegedPorts = false, heldPorts = false } = value as Fields;
  const other = Object.keys(value).find((field) => !ingressFields.includes(field));
  if (other !== undefined)
    return wrong(`ingress.${other.slice(0, 100)}`, `it is not a known field: ${ingressFields.join(', ')}`);
  if (!isTexts(namespaces) || !namespaces.every((text) => namespacePattern.test(text)))
    return wrong(
      'ingress.namespaces',
      'it must be a list of namespaces, in which * stands for any characters',
    );
  const ranges = Array.isArray(ports) ? (ports as unknown[]).map(rangeOf) : [undefined];
  if (!ranges.every((range) => range !== undefined))
    return wrong('ingress.ports', 'it must be a list of ports, as in "8080" or "30000-32767"');
  if (typeof privilegedPorts !== 'boolean')
    return wrong('ingress.privilegedPorts', 'it must be true or false');
  if (typeof heldPorts !== 'boolean') return wrong('ingress.heldPorts', 'it must be true or false');
  return { namespaces, ports: ranges, privilegedPorts, heldPorts };
}

const isTexts = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((each) => typeof each === 'string');

function rangeOf(value: unknown): readonly [number, number] | undefined {
  const text = typeof value === 'number' ? String(value) : value;
  if (typeof text !== 'string') return undefined;
  const [whole, first = '', last = first] = /^(\d{1,5})(?:-(\d{1,5}))?$/u.exec(text) ?? [];
  const [low, high] = [Number(first), Number(last)];
  return whole === undefined || low < 1 || high > 65_535 || low > high ? undefined : [low, high];
}

/**
 * Returns the owner of an attachment for services: the namespace of its pod. Other attachments get an owner
 * name that no Kubernetes namespace can have, so that none of them shares an owner with a pod by chance.
 */
export const ownerOfPod = (namespace: string): string => (namespace === '' ? otherOwners.cni : namespace);
export const otherOwners = { docker: '(docker)', cni: '(cni)' } as const;

/**
 * Returns why an ingress port is closed to the owner, or undefined if it is open. It does not check whether a
 * program uses the port.
 */
export function whyClosed(
  { ingress }: ServiceRules,
  owner: string,
  { port }: Pick<MemberPort, 'port'>,
): string | undefined {
  if (ingress === undefined) return "the network's file opens no ingress port (ingress)";
  if (!ingress.namespaces.some((pattern) => matches(pattern, owner)))
    return `the network's file opens no ingress port to ${owner} (ingress.namespaces)`;
  if (!ingress.ports.some(([low, high]) => low <= port && port <= high))
    return "the network's file does not open it (ingress.ports)";
  if (port < firstUnprivileged && !ingress.privilegedPorts)
    return "it is below 1024, and the network's file does not open such ports (ingress.privilegedPorts)";
  return undefined;
}

/** Matches a pattern; `*` matches any characters. Takes linear time in the owner for each star. */
function matches(pattern: string, text: string): boolean {
  const [first = '', ...parts] = pattern.split('*');
  if (!text.startsWith(first)) return false;
  if (parts.length === 0) return text === pattern;
  const last = parts.pop() ?? '';
  let at = first.length;
  for (const part of parts) {
    const found = text.indexOf(part, at);
    if (found === -1) return false;
    at = found + part.length;
  }
  return text.length - last.length >= at && text.endsWith(last);
}

/**
 * Refuses ingress ports that are closed to the owner.
 * @param isHeld whether a program of the host has a socket there
 */
export function refuseClosedPorts(
  rules: ServiceRules,
  owner: string,
  memberships: readonly Membership[],
  isHeld: (port: MemberPort) => boolean,
): void {
  for (const { name, ingressPorts } of memberships)
    for (const port of ingressPorts) {
      const held = (): string | undefined =>
        rules.ingress?.heldPorts !== true && isHeld(port)
          ? 'a program of the host has a socket there (ingress.heldPorts)'
          : undefined;
      const why = whyClosed(rules, owner, port) ?? held();
      if (why !== undefined) throw ingressClosed(name, owner, port, why);
    }
}

/**
 * Refuses addresses that the members chose, if the network leases none.
 * @throws NETWORK_SERVICE_VIRTUAL_IP_CLOSED
 */
export function refuseForeignAddresses(
  { virtualAddresses }: ServiceRules,
  { name, virtualIPs }: Membership,
): void {
  const prefixes = virtualAddresses.flatMap((text) => parsePrefix(text) ?? []);
  for (const text of virtualIPs) {
    const address = parseIp(text);
    if (
      prefixes.some(
        (prefix) =>
          address !== undefined && prefix.address.family === address.family && contains(prefix, address),
      )
    )
      continue;
    throw new PortcullisError({
      code: 'NETWORK_SERVICE_VIRTUAL_IP_CLOSED',
      kind: 'denied',
      attempted: `give the service ${name} the virtual address`,
      on: address === undefined ? text : formatIp(address),
      why: 'the network leases no addresses for services, and its file does not let members choose this one (virtualAddresses)',
      fix: "add its prefix to virtualAddresses in the configuration of the network's first plugin, or use the mode dnsrr",
    });
  }
}

function ingressClosed(
  service: string,
  owner: string,
  { port, protocol }: MemberPort,
  why: string,
): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_SERVICE_INGRESS_CLOSED',
    kind: 'denied',
    attempted: `open an ingress port of the host for the service ${service} of ${owner}`,
    on: `${port}/${protocol}`,
    why,
    fix: 'remove the port from ingressPorts, or open it in the configuration of the network: docs/services.md#ingress-ports',
  });
}
