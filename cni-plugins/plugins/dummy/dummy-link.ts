import { createLink, findLink, isRefusal, macBytes, setMac } from '../../../base/netlink/index.ts';
import type { Resource, ResourceType } from '../contract/contract.ts';
import { deleteLink, podOf } from '../interface/child-link.ts';
import { interfaceTaken, linkTypeMissing } from '../interface/failures.ts';

/** A link of the kind dummy in the pod. It ends with the pod's namespace. */
export interface DummyLink extends Resource {
  readonly kind: 'dummy-link';
  readonly interface: string;
  readonly mac: string;
}

export const dummyLinkType: ResourceType<DummyLink> = {
  kind: 'dummy-link',
  ensure({ interface: name, mac }, kernel) {
    const { route } = podOf(kernel, name);
    const existing = findLink(route, { name });
    if (existing === undefined) {
      try {
        return route.run([createLink({ name, of: { kind: 'dummy' }, mac: macBytes(mac) })]);
      } catch (thrown) {
        if (isRefusal(thrown, 'EOPNOTSUPP')) throw linkTypeMissing('dummy');
        throw thrown;
      }
    }
    if (existing.kind !== 'dummy')
      throw interfaceTaken(name, `the pod has a link of kind ${existing.kind} of that name`);
    if (existing.mac !== mac) route.run([setMac(existing.index, mac)]);
  },
  differences({ interface: name, mac }, kernel) {
    const link = kernel.pod === undefined ? undefined : findLink(kernel.pod.route, { name });
    if (link === undefined) return [`the pod has no interface ${name}`];
    if (link.kind !== 'dummy') return [`${name} is a link of kind ${link.kind}, not dummy`];
    return link.mac === mac ? [] : [`${name} has the MAC address ${link.mac}, not ${mac}`];
  },
  remove({ interface: name }, kernel) {
    const link = kernel.pod === undefined ? undefined : findLink(kernel.pod.route, { name });
    if (link?.kind === 'dummy') deleteLink(kernel, 'pod', link.index);
  },
};
