import type { Profile } from '../profile/model.ts';
import type { Settings } from '../types.ts';

/**
 * Returns the limits that a runtime enforces itself, apart from the other settings. Empty if the profile
 * limits none of them.
 */
export function runtimeBounds(profile: Profile): Pick<Settings, 'bounds' | 'peers'> {
  const { resources, ownNamespaces, readonlyVolumes, nonRoot, egress, ingress } = profile;
  const bounded = Object.keys(resources).length > 0 || ownNamespaces.length > 0 || readonlyVolumes || nonRoot;
  const number = (value: bigint): number => Number(value < MAX ? value : MAX);
  return {
    ...(bounded && {
      bounds: {
        resources: Object.fromEntries(
          // For an OCI runtime, 0 means no limit, except on swap.
          Object.entries(resources).map(([name, value]) => [
            name,
            number(value === 0n && name !== 'swap' ? 1n : value),
          ]),
        ),
        ownNamespaces,
        readonlyVolumes,
        nonRoot,
      },
    }),
    ...((egress !== undefined || ingress !== undefined) && {
      peers: { ...(egress !== undefined && { egress }), ...(ingress !== undefined && { ingress }) },
    }),
  };
}

/** No machine has more of any resource. */
const MAX = BigInt(Number.MAX_SAFE_INTEGER);
