import { readFileSync, writeFileSync } from 'node:fs';
import { attempt, PortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { findLink, setFlag, setMac, setMtu, setQueueLength } from '../../../base/netlink/index.ts';
import type { LinkSettings, Request } from '../../../base/netlink/index.ts';
import type { Resource, ResourceType } from '../contract/contract.ts';
import { podOf } from '../interface/child-link.ts';
import { withLink } from '../interface/amended.ts';
import { interfaceMissing } from '../interface/failures.ts';

/** Settings of a link that can be changed and restored. */
export interface Tuned {
  readonly mac?: string;
  readonly mtu?: number;
  readonly queueLength?: number;
  readonly promiscuous?: boolean;
  readonly allMulticast?: boolean;
}

export interface LinkTuning extends Resource {
  readonly kind: 'link-tuning';
  readonly interface: string;
  /** Path below /proc/sys, and value. */
  readonly sysctls: readonly (readonly [string, string])[];
  readonly wanted: Tuned;
  /** The former values of the settings that are changed. */
  readonly before: Tuned;
}

export const linkTuningType: ResourceType<LinkTuning> = {
  kind: 'link-tuning',
  ensure(resource, kernel) {
    const { route } = podOf(kernel, resource.interface);
    const link = findLink(route, { name: resource.interface });
    if (link === undefined) throw interfaceMissing(resource.interface, 'pod');
    kernel.inPod(() => resource.sysctls.forEach(([path, value]) => write(path, value)));
    route.run(requestsFor(link, resource.wanted));
  },
  differences(resource, kernel) {
    const { interface: name } = resource;
    const link = kernel.pod === undefined ? undefined : findLink(kernel.pod.route, { name });
    if (link === undefined) return [`the pod has no interface ${name}`];
    const sysctls = kernel.inPod(() =>
      resource.sysctls.map(([path, value]) => ({ path, value, found: read(path) })),
    );
    return [
      ...sysctls.flatMap(({ path, value, found }) =>
        found !== undefined && same(found, value) ? [] : [`${path} is ${found ?? 'missing'}, not ${value}`],
      ),
      ...changesOf(link, resource.wanted).map(
        (setting) =>
          `${name} has ${words[setting]} ${String(link[setting])}, not ${String(resource.wanted[setting])}`,
      ),
    ];
  },
  amend: (resource, earlier) => withLink(earlier, resource.interface, resource.wanted),
  remove(resource, kernel) {
    const link =
      kernel.pod === undefined ? undefined : findLink(kernel.pod.route, { name: resource.interface });
    if (kernel.pod !== undefined && link !== undefined)
      kernel.pod.route.send(requestsFor(link, resource.before));
  },
};

const words: Readonly<Record<keyof Tuned, string>> = {
  mac: 'the MAC address',
  mtu: 'the MTU',
  queueLength: 'the transmit queue length',
  promiscuous: 'promiscuous mode',
  allMulticast: 'all-multicast mode',
};

const changesOf = (link: LinkSettings, wanted: Tuned): (keyof Tuned)[] =>
  (Object.keys(wanted) as (keyof Tuned)[]).filter((setting) => link[setting] !== wanted[setting]);

function requestsFor(link: LinkSettings, wanted: Tuned): Request[] {
  const { index } = link;
  return changesOf(link, wanted).flatMap((setting): Request[] => {
    switch (setting) {
      case 'mac':
        return wanted.mac === undefined ? [] : [setMac(index, wanted.mac)];
      case 'mtu':
        return wanted.mtu === undefined ? [] : [setMtu(index, wanted.mtu)];
      case 'queueLength':
        return wanted.queueLength === undefined ? [] : [setQueueLength(index, wanted.queueLength)];
      case 'promiscuous':
        return [setFlag(index, 'promiscuous', wanted.promiscuous === true)];
      case 'allMulticast':
        return [setFlag(index, 'allMulticast', wanted.allMulticast === true)];
    }
  });
}

/** Compares values. The kernel separates several numbers by tabs. */
const same = (found: string, wanted: string): boolean =>
  found.trim().split(/\s+/u).join(' ') === wanted.trim().split(/\s+/u).join(' ');

function read(path: string): string | undefined {
  return attempt(() => readFileSync(`/proc/sys/${path}`, 'utf8').replace(/\n$/u, ''));
}

/** Writes only when the value differs: a container's /proc/sys may be read-only and already correct. */
function write(path: string, value: string): void {
  const found = read(path);
  if (found !== undefined && same(found, value)) return;
  try {
    // This never creates a file: /proc accepts no new ones, and the path cannot leave it.
    writeFileSync(`/proc/sys/${path}`, value, { flag: 'r+' });
  } catch (thrown) {
    throw new PortcullisError({
      code: 'NETWORK_SYSCTL_REFUSED',
      kind: 'precondition',
      attempted: 'set the sysctl',
      on: path,
      why: reasonOf(thrown),
      fix: "name a sysctl that the pod's network namespace has, with a value that the kernel takes",
    });
  }
}
