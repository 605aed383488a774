import { getLink, loopbackIndex, readLink, setDown, setUp } from '../../../base/netlink/index.ts';
import type { Resource, ResourceType } from '../contract/contract.ts';

/** The loopback link of the pod, which is up. The kernel gives it its addresses. */
export interface Loopback extends Resource {
  readonly kind: 'loopback';
}

export const loopbackType: ResourceType<Loopback> = {
  kind: 'loopback',
  ensure(_resource, { pod }) {
    pod?.route.run([setUp({ index: loopbackIndex })]);
  },
  differences(_resource, { pod }) {
    const answer = pod?.route.ask(getLink({ index: loopbackIndex }))[0];
    return answer !== undefined && readLink(answer).up ? [] : ['the link lo is down'];
  },
  remove(_resource, { pod }) {
    pod?.route.run([setDown({ index: loopbackIndex })]);
  },
};
