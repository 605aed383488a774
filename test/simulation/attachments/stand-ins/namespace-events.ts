import type { NamespaceEvents } from '../../../../cni-plugins/netlink/namespace-events.ts';
import { effect, refusal } from '../machine.ts';

/** Replaces `netlink/namespace-events.ts`: nothing changes inside the simulated pods. */
export function openNamespaceEvents(): NamespaceEvents {
  return effect(
    'read',
    'opening of a socket',
    (errno) => refusal({ what: 'follow', on: 'namespaces' }, errno),
    () => ({
      drain: () => ({ lossy: new Set(), changed: new Set(), missed: false }),
      close: () => undefined,
    }),
  );
}
