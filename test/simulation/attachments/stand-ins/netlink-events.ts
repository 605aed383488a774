import type { LinkEvents, NamespaceEvents } from '../../../../base/netlink/index.ts';
import { attachmentsMachine, effect, refusal } from '../machine.ts';

/**
 * Replaces `base/netlink` in `link-watch.ts`: events of the simulated host. Nothing changes inside the
 * simulated pods.
 */
export * from '../../../../base/netlink/index.ts';

export function openLinkEvents(): LinkEvents {
  const what = { what: 'follow', on: 'links' };
  return effect(
    'read',
    'opening of a socket',
    (errno) => refusal(what, errno),
    () => attachmentsMachine().host.follow(),
  );
}

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
