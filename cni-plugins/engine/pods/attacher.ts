import { isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import type { ChainJob, ChainLink } from '../../calls/chain.types.ts';
import { isRefusal } from '../../../base/netlink/index.ts';
import type { LoadedNetwork } from '../../spec/conf-folder.ts';
import type { NetworkConfig } from '../../spec/network-config.ts';
import type { AttachRequest } from '../../types.ts';
import type { ChainedPlugins } from './chained-plugins.ts';
import { chainLinks, chainSpec, furtherLinks, jobOf } from './chained-pods.ts';
import type { Teardown } from './teardown.ts';
import type { HostKernel } from '../../links/host-kernel.ts';
import { namespaceStands, withPodNamespace } from '../../namespaces/netns.ts';
import type { PodNamespace } from '../../namespaces/netns.ts';
import { isCore } from '../../networks/networks.ts';
import type { NetworkFolder } from '../../networks/networks.ts';
import { hostInterfaceOf } from '../../database/record.ts';
import type { AttachmentRecord } from '../../database/record.ts';
import { mappingsFor, membershipsOf, refuseClosed, refuseHostPorts } from './request-checks.ts';
import { checkedMappings, specOf } from './request.ts';
import { addPod } from '../../links/rules/ruleset.ts';
import type { RulesInForce } from './rules-in-force.ts';
import type { Claim, NetworkStore } from '../../database/store.ts';

/**
 * Creates attachments. The order is: the record in the store, then the rules, then the link in the kernel, so
 * that a link is denied from its first packet on, and a kill at any moment leaves a record that says what to
 * remove.
 */
export interface Attacher {
  /**
   * Attaches a pod. If plugins attach it, a job is returned, and the pod is only recorded until the job is
   * done. Resources that an earlier attempt of the plugins left are returned as `stale`.
   */
  attach(request: AttachRequest): Begun;
  /** Creates the link of a record and connects it to the pod. */
  make(record: AttachmentRecord, pod: PodNamespace): void;
  /** Begins the teardown of an attachment that the engine created. */
  release(record: AttachmentRecord): void;
}

export type Begun =
  | { readonly record: AttachmentRecord; readonly job?: ChainJob; readonly stale?: never }
  | { readonly stale: ChainJob };

export interface AttacherDeps {
  readonly store: NetworkStore;
  readonly kernel: HostKernel;
  readonly networks: NetworkFolder;
  readonly rules: RulesInForce;
  readonly teardown: Teardown;
  readonly chained: ChainedPlugins;
  readonly log: Pick<Logger, 'warn'>;
}

export function createAttacher({
  store,
  kernel,
  networks,
  rules,
  teardown,
  chained,
  log,
}: AttacherDeps): Attacher {
  const release = (record: AttachmentRecord): void => teardown.release(record, chained.remove);

  /**
   * Tries once more after the teardown of links, because links that are not gone yet may have caused the
   * failure.
   */
  const withReap = <Result>(act: () => Result, isTransient: (thrown: unknown) => boolean): Result => {
    try {
      return act();
    } catch (thrown) {
      if (!isTransient(thrown) || teardown.waiting() === 0) throw thrown;
      teardown.reap(true);
      return act();
    }
  };

  const make = (record: AttachmentRecord, pod: PodNamespace): void => {
    // The namespace may have been attached before, and have its former link still.
    withReap(
      () => kernel.connect(record.spec, pod),
      (thrown) => isRefusal(thrown, 'EEXIST'),
    );
    teardown.renewPorts(record);
  };

  // The last free addresses may belong to links that are not gone yet.
  const claim = (wanted: Claim): AttachmentRecord =>
    withReap(
      () => store.claim(wanted).record,
      (thrown) => isPortcullisError(thrown) && thrown.code === 'NETWORK_ADDRESSES_EXHAUSTED',
    );

  const attach = (request: AttachRequest): Begun => {
    const existing = store.record(request.id);
    if (existing?.state === 'ready') return { record: existing };
    if (existing?.spec.chains !== undefined) return { stale: jobOf(existing, namespaceStands) };
    if (existing !== undefined) {
      release(existing);
      teardown.reap(true);
    }
    const { first, others, further } = chooseNetworks(request, networks);
    if (!isCore(first)) return beginChains(request, [first, ...others], further);
    const record = attachOwn(request, first.network, [...chainLinks(others, 1, request, []), ...further]);
    return record.spec.chains === undefined ? { record } : { record, job: jobOf(record, namespaceStands) };
  };

  /** Records a pod whose interfaces all come from plugins. Only loopback is set up. */
  const beginChains = (
    request: AttachRequest,
    chosen: readonly LoadedNetwork[],
    further: readonly ChainLink[],
  ): Begun => {
    const mappings = checkedMappings(request);
    const spec = chainSpec(request, [...chainLinks(chosen, 0, request, mappings), ...further], mappings);
    return withPodNamespace(request.netns, {}, ({ route }) => {
      const record = store.begin(request.id, spec);
      rules.expect(record);
      kernel.raiseLoopback(route);
      return { record, job: jobOf(record, namespaceStands) };
    });
  };

  const attachOwn = (
    request: AttachRequest,
    network: NetworkConfig,
    chains: readonly ChainLink[],
  ): AttachmentRecord => {
    const portMappings = mappingsFor(request, network, log);
    const mtu = network.bridge.mtu ?? kernel.defaultMtu();
    return withPodNamespace(request.netns, {}, (pod) => {
      const hostInterface = hostInterfaceOf(request.id);
      const record = claim({
        id: request.id,
        hostInterface,
        network,
        portMappings,
        memberships: membershipsOf(request, network, log),
        specOf: (choices) => {
          const spec = specOf(request, network, portMappings, choices, mtu);
          return chains.length === 0 ? spec : { ...spec, chains };
        },
      });
      try {
        // The link is in the rules before it exists, so that it is denied by name from its first packet on.
        rules.change(record, addPod(record));
        make(record, pod);
        chained.add(record);
        if (record.spec.chains !== undefined) return record;
        store.setState(record.id, 'ready');
      } catch (thrown) {
        undo(record);
        throw thrown;
      }
      return { ...record, state: 'ready' };
    });
  };

  const undo = (record: AttachmentRecord): void => {
    try {
      release(record);
      teardown.reap(true);
    } catch (thrown) {
      log.warn(
        { id: record.id, why: reasonOf(thrown) },
        'a failed attachment could not be removed at once; it is tried again',
      );
    }
  };

  return { attach, make, release };
}

/**
 * Returns the networks of a pod: the default ones of the conf folder, and the links to further ones.
 * @throws the errors of networks that the pod may not join
 */
function chooseNetworks(
  request: AttachRequest,
  networks: NetworkFolder,
): {
  readonly first: LoadedNetwork;
  readonly others: readonly LoadedNetwork[];
  readonly further: readonly ChainLink[];
} {
  const [first, ...others] = networks.current().networks;
  if (first === undefined) throw new Error('a conf folder without a network was taken for one with');
  refuseHostPorts(request, first);
  for (const network of [first, ...others]) refuseClosed(request, network);
  for (const { network } of request.networks ?? []) refuseClosed(request, networks.named(network));
  const further = furtherLinks(
    request,
    (name) => networks.named(name),
    [first, ...others].map((_, index) => `eth${index}`),
  );
  return { first, others, further };
}
