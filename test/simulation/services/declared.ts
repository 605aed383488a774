import type { Backend, Protocol, Scheduler, Service } from '../../../cni-plugins/services/model/model.ts';
import type { Choices } from '../engine/play-steps.ts';

/** A service that was declared and not removed since. */
export interface Declared {
  readonly source: string;
  readonly service: Service;
  /** Addresses of backends that an operator drains. */
  readonly drained: ReadonlySet<string>;
}

const sources = ['command', 'docker'] as const;
export const mostServices = 4;
const schedulers: readonly Scheduler[] = ['rr', 'wrr', 'lc', 'sh', 'maglev'];
const protocols: readonly Protocol[] = ['tcp', 'udp'];

const nameOf = (index: number): string => `s${index}`;
/** The source that declares it: one source never changes another's services. */
export const sourceOf = (index: number): (typeof sources)[number] =>
  sources[index % sources.length] ?? 'command';
const addressOf = (index: number): string => `10.96.0.${index + 1}`;

/** @param foreign it claims the address of the next service as well */
export function drawService({ choose }: Choices, index: number, foreign = false): Service {
  const scheduler = schedulers[choose('scheduler', schedulers.length)] ?? 'rr';
  const protocol = protocols[choose('protocol', 2)] ?? 'tcp';
  const both = choose('two ports', 3) === 1;
  const six = choose('an address of IPv6', 4) === 1;
  const nodePort = choose('a node port', 4) === 1;
  const held = choose('clients are remembered', 6) === 1;
  return {
    name: nameOf(index),
    addresses: [
      addressOf(index),
      ...(six ? [`fd96::${index + 1}`] : []),
      ...(foreign ? [addressOf((index + 1) % mostServices)] : []),
    ],
    externalAddresses: [],
    ports: [
      { name: 'main', protocol, port: 80, targetPort: 8080, ...(nodePort && { nodePort: 30_000 + index }) },
      ...(both ? [{ name: 'more', protocol: 'tcp', port: 443, targetPort: 8443 } as const] : []),
    ],
    scheduler,
    clientAffinity: choose('affinity', 4) === 1,
    ...(held && { persistenceSeconds: 60 }),
    forwarding: 'nat',
    sourceAddress: choose('masquerade', 3) === 1 ? 'masquerade' : 'keep',
    drainGraceSeconds: [0, 5, 30][choose('grace', 3)] ?? 0,
    backends: drawBackends(choose, six),
  };
}

function drawBackends(choose: Choices['choose'], six: boolean): Backend[] {
  const all: Backend[] = [];
  for (let number = 1; number <= 4; number += 1) {
    if (choose('a backend', 2) === 0) continue;
    const weight = [1, 2, 3, 0][choose('weight', 4)] ?? 1;
    const draining = choose('draining', 6) === 1;
    all.push({ address: `10.0.0.${number}`, weight, ...(draining && { draining }) });
    if (six) all.push({ address: `fd00::${number}`, weight });
  }
  return all;
}

/** Returns the same service with other backends. */
export function withBackends(service: Service, { choose }: Choices): Service {
  const six = service.addresses.some((address) => address.includes(':'));
  return { ...service, backends: drawBackends(choose, six) };
}

/** Returns the addresses and ports that it occupies on the host: `tcp 10.96.0.1 80`, `tcp * 30001`. */
export function placesOf({ addresses, ports }: Service): string[] {
  return ports.flatMap(({ protocol, port, nodePort }) => [
    ...addresses.map((address) => `${protocol} ${address} ${port}`),
    ...(nodePort === undefined ? [] : [`${protocol} * ${nodePort}`]),
  ]);
}

/** Returns whether another service occupies an address or port that it claims. */
export function isTaken(declared: ReadonlyMap<string, Declared>, service: Service): boolean {
  const wanted = new Set(placesOf(service));
  return [...declared].some(
    ([name, other]) => name !== service.name && placesOf(other.service).some((place) => wanted.has(place)),
  );
}
