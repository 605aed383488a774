import type { NetworkServices } from '../../../../cni-plugins/services/network-services/follow.ts';

/** Replaces `network-services/follow.ts`: no pod of the simulation joins a service of its network. */
export function followNetworkServices(): NetworkServices {
  return { close: () => Promise.resolve() };
}
