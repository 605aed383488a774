import { PortcullisError } from '../../../base/errors/index.ts';
import { append } from '../../../base/lists/index.ts';
import {
  isRefusal,
  createLink,
  findLink,
  macBytes,
  setFlag,
  setAlias,
  addIngress,
  addRedirection,
  deleteQdisc,
  listRedirections,
  qdiscAt,
  setTokenBucket,
  tolerating,
} from '../../../base/netlink/index.ts';
import type { LinkSettings, NetlinkSocket, Request, TokenBucket } from '../../../base/netlink/index.ts';
import type { Resource, ResourceKernel, ResourceType } from '../contract/contract.ts';
import type { AttachmentKey } from '../../spec/attachment-key.ts';
import { deleteLink, podOf } from '../interface/child-link.ts';
import { interfaceTaken, linkTypeMissing } from '../interface/failures.ts';
import { ownerOf } from '../interface/link-names.ts';
import { bucketOf } from './bucket.ts';
import type { Limit } from './bucket.ts';

/**
 * Token buckets at the host's end of the pod's link. Packets that the host sends there are what the pod
 * receives. Packets from the pod are redirected to an ifb link and limited there. The limits are on the
 * host's side, so that a pod with NET_ADMIN cannot remove them.
 */
export interface TrafficLimit extends Resource {
  readonly kind: 'traffic-limit';
  readonly interface: string;
  /** Candidates for the host's end. */
  readonly hostInterfaces: readonly string[];
  readonly toPod?: Limit;
  readonly fromPod?: Limit & { readonly ifb: string; readonly mac: string };
}

export const trafficLimitType: ResourceType<TrafficLimit> = {
  kind: 'traffic-limit',
  ensure(resource, kernel, key) {
    const { route } = kernel.host;
    const end = hostEnd(resource, kernel);
    if (typeof end === 'string') throw noHostEnd(resource.interface, end);
    if (resource.toPod !== undefined) limit(route, end.index, resource.toPod);
    if (resource.fromPod === undefined) return;
    const ifb = ensureIfb(resource.fromPod, end.mtu, kernel, key);
    limit(route, ifb.index, resource.fromPod);
    const redirections =
      qdiscAt(route, end.index, 'ingress') !== undefined ? listRedirections(route, end.index) : undefined;
    if (redirections?.includes(ifb.index) === true) return;
    // A redirection to another link means that the ifb is gone: the hook is recreated with all its filters.
    route.run([
      ...(redirections === undefined ? [] : [deleteQdisc(end.index, 'ingress')]),
      addIngress(end.index),
      addRedirection(end.index, ifb.index),
    ]);
  },
  differences(resource, kernel) {
    const { route } = kernel.host;
    const end = hostEnd(resource, kernel);
    if (typeof end === 'string') return [end];
    const found: string[] = [];
    if (resource.toPod !== undefined) append(found, limitDifferences(route, end, resource.toPod));
    if (resource.fromPod === undefined) return found;
    const ifb = findLink(route, { name: resource.fromPod.ifb });
    if (ifb === undefined) return [...found, `the host has no link ${resource.fromPod.ifb}`];
    append(found, limitDifferences(route, ifb, resource.fromPod));
    if (!ifb.up) found.push(`${ifb.name} is down`);
    const hooked = qdiscAt(route, end.index, 'ingress') !== undefined;
    if (!hooked || !listRedirections(route, end.index).includes(ifb.index))
      found.push(`traffic that arrives on ${end.name} is not sent to ${ifb.name}`);
    return found;
  },
  remove(resource, kernel, key) {
    const { route } = kernel.host;
    const end = hostEnd(resource, kernel);
    if (typeof end !== 'string') {
      if (resource.fromPod !== undefined) attempt(route, deleteQdisc(end.index, 'ingress'));
      if (resource.toPod !== undefined && qdiscAt(route, end.index, 'root')?.kind === 'tbf')
        attempt(route, deleteQdisc(end.index, 'root'));
    }
    const ifb = resource.fromPod === undefined ? undefined : findLink(route, { name: resource.fromPod.ifb });
    if (ifb !== undefined && ifb.kind === 'ifb' && [ownerOf('ifb', key), ''].includes(ifb.alias))
      deleteLink(kernel, 'host', ifb.index);
  },
};

/** Returns the host's link whose other end is the pod's interface, or why there is none. */
function hostEnd(resource: TrafficLimit, kernel: ResourceKernel): LinkSettings | string {
  const pod =
    kernel.pod === undefined
      ? undefined
      : findLink(podOf(kernel, resource.interface).route, { name: resource.interface });
  if (pod === undefined) return `the pod has no interface ${resource.interface}`;
  if (pod.kind !== 'veth')
    return `${resource.interface} is not a veth link: its traffic does not pass the host`;
  const end = findLink(kernel.host.route, { index: pod.peer });
  if (end === undefined || end.kind !== 'veth' || !resource.hostInterfaces.includes(end.name))
    return `the other end of ${resource.interface} is not one of ${resource.hostInterfaces.join(', ') || 'the interfaces of prevResult'}`;
  return end;
}

function ensureIfb(
  wanted: NonNullable<TrafficLimit['fromPod']>,
  mtu: number,
  kernel: ResourceKernel,
  key: AttachmentKey,
): LinkSettings {
  const { route } = kernel.host;
  const owner = ownerOf('ifb', key);
  if (findLink(route, { name: wanted.ifb }) === undefined) {
    try {
      route.run([createLink({ name: wanted.ifb, of: { kind: 'ifb' }, mac: macBytes(wanted.mac), mtu })]);
    } catch (thrown) {
      if (isRefusal(thrown, 'EOPNOTSUPP')) throw linkTypeMissing('ifb');
      throw thrown;
    }
  }
  const ifb = findLink(route, { name: wanted.ifb });
  // Without an alias it was made by a process that died before it could set the owner.
  if (ifb === undefined || ifb.kind !== 'ifb' || ![owner, ''].includes(ifb.alias))
    throw interfaceTaken(wanted.ifb, 'the host has a link of that name that belongs to something else');
  route.run([setAlias({ index: ifb.index }, owner), setFlag(ifb.index, 'up', true)]);
  return ifb;
}

const rootBucket = (socket: NetlinkSocket, index: number): TokenBucket | undefined =>
  qdiscAt(socket, index, 'root')?.bucket;

/** The kernel counts in nanoseconds and answers in ticks, so the burst comes back a tick off. */
const sameBucket = (a: TokenBucket | undefined, b: TokenBucket): boolean =>
  a?.rate === b.rate && a.limit === b.limit && Math.abs(a.buffer - b.buffer) <= 1;

function limit(socket: NetlinkSocket, index: number, wanted: Limit): void {
  const bucket = bucketOf(wanted);
  if (!sameBucket(rootBucket(socket, index), bucket)) socket.run([setTokenBucket(index, bucket)]);
}

function limitDifferences(socket: NetlinkSocket, link: LinkSettings, wanted: Limit): string[] {
  const bucket = bucketOf(wanted);
  const found = rootBucket(socket, link.index);
  if (found === undefined) return [`${link.name} has no traffic limit`];
  if (sameBucket(found, bucket)) return [];
  return [
    `${link.name} is limited to ${found.rate * 8n} bits a second with ${found.limit} bytes waiting, not to ${bucket.rate * 8n} with ${bucket.limit}`,
  ];
}

function attempt(socket: NetlinkSocket, request: Request): void {
  tolerating(['ENOENT', 'EINVAL', 'ENODEV'], () => socket.run([request]));
}

function noHostEnd(name: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_BANDWIDTH_NO_LINK',
    kind: 'precondition',
    attempted: 'limit the traffic of the interface',
    on: name,
    why,
    fix: 'place the plugin after one that creates a veth link, such as bridge or ptp',
  });
}
