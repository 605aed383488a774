import type { CountedLink, HostKernel } from '../../../../cni-plugins/links/host-kernel.ts';
import { linkGroups } from '../../../../cni-plugins/database/record.ts';
import type { AttachmentSpec } from '../../../../cni-plugins/database/record.ts';
import type { PodNamespace } from '../../../../cni-plugins/namespaces/netns.ts';
import {
  readListedElements,
  readListedRule,
  listElements,
  listRules,
  readElements,
  readRule,
  textOf,
} from '../../../../base/netlink/index.ts';
import type { Link, Table, Request, Received } from '../../../../base/netlink/index.ts';
import type { HostLink } from '../host.ts';
import { asked, attachmentsMachine, refusal } from '../machine.ts';
import { opened } from './kernel.ts';

/**
 * Replaces `links/host-kernel.ts` by the simulated host. An operation that takes several messages there
 * takes several here, and may end between them.
 */

const host = (): ReturnType<typeof attachmentsMachine>['host'] => attachmentsMachine().host;
const families: Readonly<Record<Table['family'], number>> = { inet: 1, ip: 2, arp: 3, bridge: 7, ip6: 10 };

const seen = ({ index, name, up, mtu, mac, group, master, kind, alias, pod }: HostLink): Link => ({
  ...{ index, name, up, mtu, mac, group, master, kind, alias, promiscuous: false },
  peer: pod?.index ?? 0,
  ...(pod && { peerNamespace: pod.namespace.ino }),
  ...(master !== 0 && { portState: up ? 3 : 0 }),
});

/** Changes one link. @param gone the error when the link does not exist. @returns whether it exists */
function changed(
  what: string,
  name: string,
  to: Parameters<ReturnType<typeof host>['change']>[1],
  gone: 'fine' | 'refused' = 'fine',
): boolean {
  return asked(what, name, () => {
    const link = host().named(name);
    if (link === undefined && gone === 'refused') throw refusal({ what, on: name }, 'ENODEV');
    if (link !== undefined) host().change(link, to);
    return link !== undefined;
  });
}

function ensureBridge({ bridge: { name, mac, addresses } }: AttachmentSpec, tag: string): number {
  const existing = asked('look up the link', name, () => host().named(name));
  if (existing?.up === true && existing.addresses.length === addresses.length) return existing.index;
  const made =
    existing ??
    asked('create the bridge', name, () =>
      host().make({ kind: 'bridge', name, mac, group: linkGroups.bridge, alias: tag }),
    );
  asked('set up the bridge', name, () => {
    if (host().links.get(made.index) === undefined)
      throw refusal({ what: 'set up the bridge', on: name }, 'ENODEV');
    host().change(made, { up: true, addresses });
  });
  return made.index;
}

function connect(spec: AttachmentSpec, { netnsFd }: PodNamespace, tag: string): void {
  const master = ensureBridge(spec, tag);
  const { hostInterface: name, interface: inPod, mac, mtu } = spec;
  const namespace = opened(netnsFd);
  const made = asked('create the pair', name, () => {
    const isTaken =
      host().named(name) !== undefined ||
      host()
        .ends(namespace)
        .some((end) => end.name === inPod);
    if (isTaken) throw refusal({ what: 'create the pair', on: name }, 'EEXIST');
    const link = { kind: 'veth', name, mac, mtu, master, group: linkGroups.pod, alias: tag } as const;
    return host().make(link, { namespace, name: inPod, mac });
  });
  const { pod } = made;
  if (pod === undefined) throw new Error('a pair was made without its other end');
  const still = (what: string): void => {
    if (host().links.get(made.index) === undefined) throw refusal({ what, on: name }, 'ENODEV');
  };
  asked("configure the pod's end", name, () => {
    still("configure the pod's end");
    host().address(
      pod,
      spec.addresses.map(({ ip }) => ip),
    );
  });
  asked('set up the link', name, () => {
    still('set up the link');
    host().change(made, { up: true });
  });
}

/** Returns nothing when the listed object does not exist. */
function dumped(request: Request): readonly Received[] {
  return asked(request.what, request.on, () => {
    const answers = host().nf.ask(request);
    return 'errno' in answers ? [] : answers;
  });
}

const tableOf = ({ family, name }: Table) => host().nf.tables.get(`${families[family]} ${name}`);

export function openHostKernel(tag: string): HostKernel {
  const kernel = {
    tag,
    links: () => asked('list links', '', () => [...host().links.values()].map(seen)),
    link: (name: string) => {
      const link = asked('look up the link', name, () => host().named(name));
      return link && seen(link);
    },
    linkAt: (index: number) => {
      const link = asked('look up the link', `#${index}`, () => host().links.get(index));
      return link && seen(link);
    },
    addressesOf: (index: number) => host().links.get(index)?.addresses ?? [],
    isOwnAddress: () => false,
    routeOf: () => undefined,
    claim: (name: string, group: 'plugin' | 'pod' | 'routed') =>
      void changed('claim the link', name, { group: linkGroups[group], alias: tag }),
    mark: (name: string) => void changed('mark the link', name, { alias: tag }),
    rename: (index: number, name: string) =>
      asked('rename the link', name, () => {
        const link = host().links.get(index);
        if (link === undefined) throw refusal({ what: 'rename the link', on: name }, 'ENODEV');
        if (host().named(name) !== undefined) throw refusal({ what: 'rename the link', on: name }, 'EEXIST');
        host().change(link, { up: false, name });
      }),
    namespaceNumber: (netnsFd: number) => opened(netnsFd).ino,
    raiseLoopback: () => undefined,
    defaultMtu: () => 1500,
    connect: (spec: AttachmentSpec, pod: PodNamespace) => connect(spec, pod, tag),
    rejoin: (spec: AttachmentSpec) => {
      const name = spec.hostInterface;
      changed('set the group', name, { group: linkGroups.pod }, 'refused');
      const master = ensureBridge(spec, tag);
      changed('put the link on the bridge', name, { master, alias: tag }, 'refused');
      changed('set up the link', name, { up: true }, 'refused');
    },
    isolate: (name: string) => void changed('set down the link', name, { up: false }),
    deleteLater: (name: string) =>
      changed('mark the link for deletion', name, { up: false, master: 0, group: linkGroups.deleting }),
    deleteEnd: (spec: AttachmentSpec, { netnsFd }: PodNamespace) =>
      asked("delete the pod's end", spec.interface, () => {
        const namespace = opened(netnsFd);
        for (const link of [...host().links.values()])
          if (
            link.pod?.namespace === namespace &&
            link.pod.name === spec.interface &&
            link.pod.mac === spec.mac
          )
            host().remove(link);
      }),
    deleteMarked: () =>
      asked('delete the links of group', 'deleting', () => {
        for (const link of [...host().links.values()])
          if (link.group === linkGroups.deleting) host().remove(link);
      }),
    deleteLink: (name: string) => {
      const link = asked('look up the link', name, () => host().named(name));
      if (link !== undefined) asked('delete the link', name, () => host().remove(link));
    },
    rules: (requests: readonly Request[]) => {
      if (requests.length === 0) return;
      asked('transaction of nf_tables', '', () => {
        const refused = host().commit(requests);
        const request = refused && requests[refused.index];
        if (refused !== undefined && request !== undefined) throw refusal(request, refused.errno);
      });
    },
    hasTable: (table: Table) => asked('look up the table', table.name, () => tableOf(table) !== undefined),
    lacksRules: (table: Table, constant: ReadonlyMap<string, number>) =>
      asked('list the rules', table.name, () => {
        const chains = tableOf(table)?.chains;
        return [...constant].some(([chain, count]) => (chains?.get(chain)?.rules.length ?? 0) < count);
      }),
    countedRules: (table: Table, chains: Iterable<string>) => {
      const wanted = new Set(chains);
      return dumped(listRules(table))
        .map(readRule)
        .filter(({ chain }) => wanted.has(chain));
    },
    listedElements: (table: Table, set: string) =>
      dumped(listElements(table, set)).flatMap(readListedElements),
    listedRules: (table: Table, chain: string) =>
      dumped(listRules(table))
        .map(readListedRule)
        .filter((rule) => rule.chain === chain),
    countedLinks: (table: Table, set: string): CountedLink[] =>
      dumped(listElements(table, set))
        .flatMap(readElements)
        .map(({ key, ...counts }) => ({ link: textOf(key), ...counts })),
    restore: (spec: AttachmentSpec, _pod: PodNamespace, index: number) =>
      asked("restore the pod's end", spec.hostInterface, () => {
        const end = [...host().links.values()].find(({ pod }) => pod?.index === index)?.pod;
        if (end === undefined)
          throw refusal({ what: "restore the pod's end", on: spec.hostInterface }, 'ENODEV');
        host().address(
          end,
          spec.addresses.map(({ ip }) => ip),
        );
      }),
    // Nothing is tracked.
    forget: () => undefined,
    forgetAddresses: () => undefined,
    close: () => undefined,
  };
  return kernel;
}
