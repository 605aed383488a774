import { formatDevice, meetDevices } from '../profile/devices.ts';
import { commonCall } from '../seccomp/call-set.ts';
import { formatClause } from '../seccomp/clause.ts';
import type { Part } from './part.ts';

/** Two parts of which one grants what the other excludes. */
export interface Conflict {
  readonly first: string;
  readonly second: string;
  /** The subject of the conflict. */
  readonly on: string;
}

/** Returns every pair that cannot be in one profile. */
export function conflictsOf(parts: readonly Part[]): Conflict[] {
  return parts.flatMap((first, at) =>
    parts.slice(at + 1).flatMap((second) => {
      const on = disagreement(first, second) ?? disagreement(second, first);
      return on === undefined ? [] : [{ first: first.name, second: second.name, on }];
    }),
  );
}

/** Returns what `one` excludes and `other` grants. */
function disagreement(one: Part, other: Part): string | undefined {
  const { excludes } = one;
  const { grants } = other;
  const network = one.networks.find((name) => other.networks.some((its) => its !== name));
  if (network !== undefined) {
    const its = other.networks.find((name) => name !== network) ?? network;
    return `the network class: ${[network, its].sort().join(' or ')}`;
  }
  const capability = excludes.capabilities.find((name) => grants.capabilities.includes(name));
  if (capability !== undefined) return `the capability ${capability}`;
  const call = commonCall(excludes.calls, grants.calls);
  if (call !== undefined)
    return `the system call ${call.call}${call.when.length === 0 ? '' : ` if ${formatClause(call.when)}`}`;
  const namespace = excludes.hostNamespaces.find((name) => grants.hostNamespaces.includes(name));
  if (namespace !== undefined) return `the host's ${namespace} namespace`;
  const [device] = meetDevices(excludes.devices, grants.devices);
  if (device !== undefined) return `the device access ${formatDevice(device)}`;
  if (excludes.flags.includes('hostDevices')) {
    if (grants.flags.includes('hostDevices')) return "the host's devices";
    const [one_] = grants.devices;
    if (one_ !== undefined) return `the device access ${formatDevice(one_)}`;
  }
  if (excludes.flags.includes('hostPaths') && grants.flags.includes('hostPaths'))
    return 'paths of the host as volumes';
  const masked = excludes.maskedPaths;
  if (masked.length > 0 && grants.flags.includes('unmasked')) return `masking ${masked.join(', ')}`;
  if (excludes.readonlyPaths.length > 0 && grants.flags.includes('writablePaths'))
    return `keeping ${excludes.readonlyPaths.join(', ')} read-only`;
  if (
    one.networks.includes('host') &&
    (other.rules.egress !== undefined || other.rules.ingress !== undefined)
  )
    return 'rules of peers, which are not possible on the network of the host';
  return undefined;
}
