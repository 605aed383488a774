import type { LinkEvents } from '../../../../cni-plugins/netlink/link-events.ts';
import { attachmentsMachine, effect, refusal } from '../machine.ts';

/** Replaces `netlink/link-events.ts`: events of the simulated host. */
export function openLinkEvents(): LinkEvents {
  const what = { what: 'follow', on: 'links' };
  return effect(
    'read',
    'opening of a socket',
    (errno) => refusal(what, errno),
    () => attachmentsMachine().host.follow(),
  );
}
