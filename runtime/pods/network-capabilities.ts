import { parseJson } from '../../base/json/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import { membershipLabel, parseMemberships } from '../../cni-plugins/index.ts';
import type { PodSandboxConfig } from '../cri/contract/contract.types.ts';

/**
 * Returns the capability arguments of a pod for network plugins, other than its host ports, by the names that
 * CNI's conventions and other CRI runtimes use. Each plugin gets the arguments that it declares. Pure.
 * @throws RUNTIME_BAD_BANDWIDTH · NETWORK_SERVICE_MEMBERSHIP_INVALID
 */
export function networkCapabilities(
  config: PodSandboxConfig,
  cgroupPath: string,
): Readonly<Record<string, unknown>> {
  const { annotations, labels, dnsConfig, metadata } = config;
  const bandwidth = bandwidthOf(annotations);
  const services = servicesOf(annotations[membershipLabel]);
  return {
    ...(bandwidth !== undefined && { bandwidth }),
    ...(dnsConfig !== undefined && {
      dns: { servers: dnsConfig.servers, searches: dnsConfig.searches, options: dnsConfig.options },
    }),
    ...(services !== undefined && { services }),
    ...(cgroupPath !== '' && { cgroupPath }),
    ...(metadata !== undefined && metadata.name !== '' && { aliases: [metadata.name] }),
    podLabels: labels,
    podAnnotations: annotations,
    'io.kubernetes.cri.pod-annotations': annotations,
  };
}

/**
 * Returns the services of its networks that the pod joins, as written in the annotation; each plugin
 * validates them again.
 */
function servicesOf(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  parseMemberships(text, membershipLabel);
  return parseJson(text);
}

const annotationNames = {
  ingress: 'kubernetes.io/ingress-bandwidth',
  egress: 'kubernetes.io/egress-bandwidth',
} as const;
/** As in Kubernetes: `1k` to `1P`, in bits per second. */
const [least, most] = [1000, 1e15];
const mostBurst = 0xffff_ffff;

function bandwidthOf(annotations: Readonly<Record<string, string>>): Record<string, number> | undefined {
  const limits = (['ingress', 'egress'] as const).flatMap((direction) => {
    const name = annotationNames[direction];
    const text = annotations[name];
    if (text === undefined) return [];
    const rate = quantityOf(text);
    if (rate === undefined || rate < least || rate > most) throw badBandwidth(name, text);
    return [
      [`${direction}Rate`, rate],
      [`${direction}Burst`, burstOf(rate)],
    ] as const;
  });
  return limits.length === 0 ? undefined : Object.fromEntries(limits);
}

/**
 * In bits: one second at the given rate, at least one large segment, and less than the value at which the
 * kernel's 32-bit time overflows.
 */
const burstOf = (rate: number): number =>
  Math.min(mostBurst, Math.max(rate, Math.min(1_048_576, rate * 200)));

const suffixes: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
};

/**
 * Returns a Kubernetes quantity as a whole number; a quantity below one counts as one (apimachinery,
 * resource.Quantity `Value`).
 */
function quantityOf(text: string): number | undefined {
  const match =
    /^\+?(?<digits>\d+(?:\.\d*)?|\.\d+)(?:(?<suffix>[kMGTP]|[KMGTP]i)|[eE](?<exponent>[+-]?\d{1,2}))?$/u.exec(
      text.trim(),
    )?.groups;
  if (match === undefined) return undefined;
  const factor =
    match['exponent'] === undefined
      ? (suffixes[match['suffix'] ?? ''] ?? Number.NaN)
      : 10 ** Number(match['exponent']);
  return Math.ceil(Number(match['digits']) * factor);
}

function badBandwidth(name: string, text: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_BAD_BANDWIDTH',
    kind: 'invalid',
    attempted: 'limit the traffic of a pod by its annotation',
    on: `${name}: ${text}`,
    why: 'it is not a quantity from 1k to 1P',
    fix: 'give bits per second, such as 10M',
  });
}
