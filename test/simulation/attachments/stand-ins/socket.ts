import {
  RTM_DELLINK,
  RTM_NEWLINK,
  listLinks,
  attribute,
  nested,
  text,
  u32,
  zeros,
} from '../../../../base/netlink/index.ts';
import type { NetlinkSocket, Request, Received } from '../../../../base/netlink/index.ts';
import type { Namespace } from '../host.ts';
import { asked, attachmentsMachine, effect, refusal } from '../machine.ts';
import { enteredNamespace } from './kernel.ts';

/**
 * Replaces `base/netlink` in `namespaces/netns.ts` and `caller.ts`: lists and deletes the interfaces in
 * a pod.
 */
export * from '../../../../base/netlink/index.ts';

const up = 1;
/** The id by which every pod's namespace refers to the host's. */
const hostNumber = 0;

/** Returns the links of the pod's namespace, as `ip link` lists them. */
function listed(namespace: Namespace): Received[] {
  const { links } = attachmentsMachine().host;
  return [...links.values()].flatMap(({ index, pod }): Received[] => {
    if (pod?.namespace !== namespace) return [];
    const header = zeros(16);
    header.writeInt32LE(pod.index, 4);
    header.writeUInt32LE(up, 8);
    const attributes = [
      attribute(3, text(pod.name)),
      attribute(1, Buffer.from(pod.mac.replaceAll(':', ''), 'hex')),
      attribute(5, u32(index)),
      nested(18, attribute(1, text('veth'))),
      attribute(37, u32(hostNumber)),
    ];
    return [{ type: RTM_NEWLINK, flags: 0, sequence: 0, body: Buffer.concat([header, ...attributes]) }];
  });
}

function deleted(request: Request, namespace: Namespace): void {
  const { host } = attachmentsMachine();
  const index = Buffer.from(request.body).readInt32LE(4);
  for (const link of [...host.links.values()])
    if (link.pod?.index === index && link.pod.namespace === namespace)
      asked(request.what, request.on, () => host.remove(link));
}

export function openNetlink(protocol: number): NetlinkSocket {
  const namespace = enteredNamespace();
  const what = { what: 'open', on: 'a netlink socket' };
  effect(
    'read',
    'opening of a socket',
    (errno) => refusal(what, errno),
    () => undefined,
  );
  const unknown = (): never => {
    throw new Error(`the simulated socket of protocol ${protocol} is not asked this`);
  };
  return {
    ...{
      fd: -1,
      run: unknown,
      sendAhead: unknown,
      ask: unknown,
      find: unknown,
      exchange: unknown,
      first: unknown,
      runApart: unknown,
    },
    askingOnce: (body) => body(),
    dump: (request) =>
      namespace === undefined || request !== listLinks
        ? unknown()
        : asked(request.what, '', () => listed(namespace)),
    send: (requests) => {
      for (const request of requests) {
        if (namespace === undefined || request.type !== RTM_DELLINK) return unknown();
        deleted(request, namespace);
      }
      return [];
    },
    close: () => undefined,
  };
}
