import type { Profile } from '../profile/model.ts';
import type { Settings } from '../types.ts';

/** Rules that are read, compared and compiled, and that nothing on a node holds yet. */
const UNENFORCED: readonly (readonly [restricts: (profile: Profile) => boolean, what: string])[] = [
  [(profile) => profile.egress !== undefined, 'network.egress: the network of the pod takes no rules of peers'],
  [(profile) => profile.ingress !== undefined, 'network.ingress: the network of the pod takes no rules of peers'],
];

/** What a runtime holds itself beside the rest of the settings; nothing when the profile bounds none of it. */
export function runtimeBounds(profile: Profile): Pick<Settings, 'bounds' | 'unenforced'> {
  const unenforced = UNENFORCED.filter(([restricts]) => restricts(profile)).map(([, what]) => what);
  const { resources, ownNamespaces, readonlyVolumes, nonRoot } = profile;
  const bounded = Object.keys(resources).length > 0 || ownNamespaces.length > 0 || readonlyVolumes || nonRoot;
  const number = (value: bigint): number => Number(value < MAX ? value : MAX);
  return {
    ...(bounded && {
      bounds: {
        resources: Object.fromEntries(Object.entries(resources).map(([name, value]) => [name, number(value)])),
        ownNamespaces,
        readonlyVolumes,
        nonRoot,
      },
    }),
    ...(unenforced.length > 0 && { unenforced }),
  };
}

/** No machine has more of anything. */
const MAX = BigInt(Number.MAX_SAFE_INTEGER);
