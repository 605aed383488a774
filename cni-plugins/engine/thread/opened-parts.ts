import { NETLINK_ROUTE } from '../../../base/kernel/index.ts';
import { findLink, openNetlink, removeLink } from '../../../base/netlink/index.ts';
import { roomOf } from '../../../base/storage/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { openNetworkDatabase } from '../../database/database.ts';
import type { NetworkDatabase } from '../../database/database.ts';
import { replaceDamagedParts } from '../../database/damaged-parts.ts';
import { createEndedNamespaces } from '../../database/ended-namespaces.ts';
import { createFollowedPolicies } from '../../database/followed-policies.ts';
import { tagOf } from '../../database/record.ts';
import { createRemoteStore } from '../../database/remote-store.ts';
import type { RemoteStore } from '../../database/remote-store.ts';
import { rootIdOf } from '../../database/root-id.ts';
import { createNetworkStore } from '../../database/store.ts';
import { readableAt } from '../../followed-files/checked-folder.ts';
import { openHostKernel } from '../../links/host-kernel.ts';
import { openHosts } from '../../namespaces/caller.ts';
import type { Hosts } from '../../namespaces/caller.ts';
import { openNetworkFolder } from '../../networks/networks.ts';
import type { NetworkFolder } from '../../networks/networks.ts';
import { createPluginCore } from '../../plugin-engine/plugin-engine.ts';
import type { PluginCore } from '../../plugin-engine/plugin-engine.ts';
import { refusingPolicies } from '../../plugin-engine/pod-policies.ts';
import { createNetworkCore } from '../pods/network-core.ts';
import type { NetworkCore } from '../pods/network-core.ts';
import { createPolicedPods } from '../pods/policed-pods.ts';
import { openLinkWatch } from './link-watch.ts';
import type { LinkWatch } from './link-watch.ts';
import type { NameReport } from './name-report.ts';
import type { PolicySources } from './policy-sources.ts';
import type { WorkerSettings } from './protocol.ts';
import type { RecentCalls } from './recent-calls.ts';
import { forgetDead, startUpkeep } from './upkeep.ts';

/** Everything that is open from the thread's first call on: database, sockets of the kernel, timers. */
export interface OpenedParts {
  readonly database: NetworkDatabase;
  readonly hosts: Hosts;
  readonly remote: RemoteStore;
  readonly plugins: PluginCore;
  /** The engine's own host network namespace. */
  readonly namespaceId: string;
  /** Absent in a process that serves plugin calls only. */
  readonly core?: NetworkCore;
  readonly networks?: NetworkFolder;
  readonly links?: LinkWatch;
  close(): void;
}

export interface OpenedPartsDeps {
  readonly settings: WorkerSettings;
  /** Absent in a process that serves plugin calls only. */
  readonly policies: PolicySources | undefined;
  readonly calls: RecentCalls;
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
  /** Whether the daemon is starting. */
  readonly isStart: boolean;
  readonly followPolicies: (() => void) | undefined;
  readonly reportNames: NameReport['reportNames'];
}

/** Opens the parts, and compares the kernel with the records. What was opened is closed if that fails. */
export function openParts({
  settings,
  policies,
  calls,
  log,
  isStart,
  followPolicies,
  reportNames,
}: OpenedPartsDeps): OpenedParts {
  const database = openNetworkDatabase(settings.databasePath, settings.ballast && roomOf(settings.ballast));
  const opened: { close(): void }[] = [database];
  const close = (): void => opened.toReversed().forEach((each) => each.close());
  try {
    const hosts = openHosts();
    opened.push(hosts);
    const { namespaceId, route } = hosts.own;
    const deleteLink = (name: string): void => {
      const link = findLink(route, { name });
      if (link?.kind === 'veth') removeLink(route, link.index, () => openNetlink(NETLINK_ROUTE));
    };
    for (const { key, type, lostLink } of replaceDamagedParts(database, namespaceId, deleteLink))
      log.warn(
        { ...key, type },
        lostLink
          ? 'the record of a pod of another runtime was damaged: the pod has lost its link, because nobody knows which NetworkPolicies apply to it, and its addresses and host ports stay taken until the next boot; create the pod again'
          : 'the record of a plugin attachment was damaged: its addresses and host ports stay taken until the next boot',
      );
    const { confDir } = settings;
    const namespaceIds = createEndedNamespaces(database, hosts.own.route, namespaceId);
    const remote = createRemoteStore(database);
    const others = { database, hosts, namespaceIds, log };
    if (confDir === undefined || policies === undefined) {
      const alone = { policies: refusingPolicies(database), keepsLeases: false };
      const plugins = createPluginCore({ ...others, ...alone });
      return { database, hosts, remote, plugins, namespaceId, close };
    }
    const kernel = openHostKernel(tagOf(rootIdOf(database)));
    opened.push(kernel);
    const areFollowed = settings.policyCluster !== undefined;
    createFollowedPolicies(database).set(areFollowed);
    const policed = createPolicedPods({ database, namespaceId, areFollowed, kernel });
    const plugins = createPluginCore({ ...others, policies: policed, keepsLeases: true });
    opened.push(plugins);
    const report = (problem: string): void => log.warn({ problem }, 'a CNI configuration file was skipped');
    const networks = openNetworkFolder(
      readableAt(confDir, settings.checkedFolders),
      settings.choice ?? { plugins: 'auto', maxConfigs: 1 },
      report,
    );
    const store = createNetworkStore(database, namespaceId);
    const core = createNetworkCore({
      store,
      kernel,
      plugins,
      networks,
      log,
      policies: policies.follow(),
      policed,
    });
    const links = openLinkWatch({ database, core, plugins, host: hosts.own, store, kernel, log });
    opened.push(links);
    database.exclusively(() => {
      // A thread that replaces a lost one continues, and does not touch links that it does not know.
      if (isStart) core.refuseOthers();
      // The process was killed between the answer to a detach and the remaining work.
      for (const { id, state } of store.records()) if (state === 'detaching') plugins.release(hosts.own, id);
      core.reconcile();
    });
    plugins.start(hosts.own);
    forgetDead(namespaceIds, log);
    opened.push(
      startUpkeep({
        database,
        core,
        namespaceIds,
        links,
        calls,
        followPolicies: () => followPolicies?.(),
        reportNames: () => reportNames(database),
        log,
      }),
    );
    return { database, hosts, remote, plugins, namespaceId, core, networks, links, close };
  } catch (thrown) {
    close();
    throw thrown;
  }
}
