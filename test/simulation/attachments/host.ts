import { listElements, readListedElements, textOf } from '../../../base/netlink/index.ts';
import type { Drained, Message } from '../../../base/netlink/index.ts';
import { hostInterfacePrefix, linkGroups } from '../../../cni-plugins/database/record.ts';
import { bridgeTable } from '../../../cni-plugins/links/rules/rules.ts';
import type { Scheduler } from '../engine/scheduler.ts';
import { createNfTables } from '../services/nf-tables.ts';
import type { NfTables, Refused } from '../services/nf-tables.ts';

/** A network namespace of a pod, pinned at a path. The same path may have another namespace later. */
export interface Namespace {
  readonly path: string;
  readonly ino: number;
  stands: boolean;
}

/** The pod's end of a pair, in the namespace in which it was created. */
export interface PodEnd {
  readonly index: number;
  readonly namespace: Namespace;
  readonly name: string;
  readonly mac: string;
  addresses: readonly string[];
}

/** A link of the host. */
export interface HostLink {
  readonly index: number;
  readonly kind: 'bridge' | 'veth';
  readonly mac: string;
  readonly mtu: number;
  name: string;
  group: number;
  alias: string;
  master: number;
  up: boolean;
  addresses: readonly string[];
  /** The other end of a veth. */
  readonly pod?: PodEnd;
}

/** The properties that {@link Host.make} sets; all others have the kernel's defaults. */
export type NewLink = Pick<HostLink, 'group' | 'kind' | 'mac' | 'name'> &
  Partial<Pick<HostLink, 'alias' | 'master' | 'mtu'>>;
/** Its interface in a pod. */
export type NewEnd = Omit<PodEnd, 'index' | 'addresses'>;

/**
 * The host's network namespace and those of pods: links with their relations to each other, and nf_tables.
 * Calls take effect at once, as in the kernel; the callers decide which calls fail, and when. After every
 * change the host checks the conditions that must hold at every moment: see {@link Host.wrong}.
 */
export interface Host {
  readonly nf: NfTables;
  readonly links: ReadonlyMap<number, HostLink>;
  named(name: string): HostLink | undefined;
  make(link: NewLink, end?: NewEnd): HostLink;
  change(
    link: HostLink,
    to: Partial<Pick<HostLink, 'addresses' | 'alias' | 'group' | 'master' | 'name' | 'up'>>,
  ): void;
  address(end: PodEnd, addresses: readonly string[]): void;
  remove(link: HostLink): void;
  /** Commits one transaction of nf_tables. */
  commit(requests: readonly Message[]): Refused | undefined;
  pin(path: string): Namespace;
  /** Removes the pin at once, and the links in the namespace a little later. */
  unpin(path: string, linksGoInMs: number): void;
  namespace(path: string): Namespace | undefined;
  /** Returns the interfaces in the namespace. */
  ends(namespace: Namespace): readonly PodEnd[];
  /** Returns the events of links from now on. */
  follow(): { drain(): Drained; close(): void };
  /** Withholds some of the next events from their followers. */
  overrun(): void;
  /** Returns whether packets of the pod behind the link pass. */
  lets(link: HostLink): boolean;
  /** Descriptions of problems that existed at least for a moment. */
  readonly wrong: readonly string[];
}

export interface HostDeps {
  readonly scheduler: Scheduler;
  /** Returns whether packets of a link of this name may pass now, according to the requests. */
  readonly mayPass: (hostInterface: string) => boolean;
  /** Another program took rules: the product is not responsible for what then passes. */
  readonly isOpened: () => boolean;
}

interface Follower {
  gone: Drained['gone'][number][];
  changed: Map<number, Drained['changed'][number]>;
  missed: boolean;
}

export function createHost({ scheduler, mayPass, isOpened }: HostDeps): Host {
  const nf = createNfTables();
  const links = new Map<number, HostLink>();
  const namespaces = new Map<string, Namespace>();
  const followers = new Set<Follower>();
  const wrong: string[] = [];
  let [indices, inodes] = [1, 100];
  const nextIndex = (): number => (indices += 1);

  /** Links whose element lets packets pass, as of the last transaction. */
  let open: ReadonlySet<string> | undefined = new Set();
  const readOpen = (): ReadonlySet<string> | undefined => {
    const answers = nf.ask(listElements(bridgeTable, 'egress'));
    if ('errno' in answers) return undefined;
    const elements = answers.flatMap(readListedElements);
    const isOpen = ({ verdict }: (typeof elements)[number]): boolean =>
      typeof verdict === 'object' && 'goto' in verdict && verdict.goto === 'from_user';
    return new Set(elements.filter(isOpen).map(({ key }) => textOf(key)));
  };
  const lets = ({ kind, name, group, master, up }: HostLink): boolean => {
    if (kind !== 'veth' || !up || master === 0) return false;
    // The rules match links by their group. Without rules, every link passes.
    return open === undefined || group !== linkGroups.pod || open.has(name);
  };
  const judge = (): void => {
    if (isOpened()) return;
    // A link that another program renamed is not ours until it has its name back.
    const ours = [...links.values()].filter(({ name }) => name.startsWith(hostInterfacePrefix));
    for (const link of ours)
      if (lets(link) && !mayPass(link.name)) wrong.push(`packets pass ${link.name}, and its class lets none`);
  };

  const reportGone = ({ name, group }: HostLink): void => {
    for (const follower of followers) follower.gone.push({ name, group });
  };
  const reportChanged = (link: HostLink): void => {
    for (const { changed } of followers) changed.set(link.index, { ...link });
  };
  const remove = (link: HostLink): void => {
    if (!links.delete(link.index)) return;
    reportGone(link);
    for (const follower of followers) follower.changed.delete(link.index);
    for (const port of links.values()) if (port.master === link.index) port.master = 0;
  };
  const ends = (namespace: Namespace): PodEnd[] =>
    [...links.values()].flatMap(({ pod }) => (pod?.namespace === namespace ? pod : []));

  return {
    ...{ nf, links, remove, ends, lets, wrong },
    named: (name) => [...links.values()].find((link) => link.name === name),
    make: (link, end) => {
      const index = nextIndex();
      const pod = end && { ...end, index: nextIndex(), addresses: [] };
      const made: HostLink = {
        alias: '',
        master: 0,
        mtu: 1500,
        up: false,
        addresses: [],
        ...link,
        index,
        ...(pod && { pod }),
      };
      links.set(index, made);
      reportChanged(made);
      return made;
    },
    change: (link, to) => {
      const leaves = to.master === 0 && link.master !== 0;
      if (leaves) reportGone(link);
      Object.assign(link, to);
      reportChanged(link);
      judge();
    },
    address: (end, addresses) => {
      end.addresses = addresses;
      // If another program renamed a link, a detach does not find it until the product has looked.
      for (const { name, pod } of links.values())
        if (
          name.startsWith(hostInterfacePrefix) &&
          pod !== undefined &&
          pod !== end &&
          pod.addresses.some((one) => addresses.includes(one))
        )
          wrong.push(
            `${addresses.join(', ')} is given to ${end.namespace.path} while ${name} has it for ${pod.namespace.path}`,
          );
    },
    commit: (requests) => {
      const refused = nf.commit(requests);
      open = readOpen();
      judge();
      return refused;
    },
    pin: (path) => {
      inodes += 1;
      const namespace = { path, ino: inodes, stands: true };
      namespaces.set(path, namespace);
      return namespace;
    },
    unpin: (path, ms) => {
      const namespace = namespaces.get(path);
      if (namespace === undefined) return;
      namespace.stands = false;
      namespaces.delete(path);
      scheduler.later(ms, () => {
        for (const link of [...links.values()]) if (link.pod?.namespace === namespace) remove(link);
      });
    },
    namespace: (path) => namespaces.get(path),
    follow: () => {
      const own: Follower = { gone: [], changed: new Map(), missed: false };
      followers.add(own);
      return {
        drain: () => {
          const drained = { gone: own.gone, changed: [...own.changed.values()], missed: own.missed };
          Object.assign(own, { gone: [], changed: new Map(), missed: false });
          return drained;
        },
        close: () => void followers.delete(own),
      };
    },
    overrun: () => {
      for (const follower of followers)
        Object.assign(follower, { gone: [], changed: new Map(), missed: true });
    },
  };
}
