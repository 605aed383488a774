import { reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { readableAt } from '../../followed-files/checked-folder.ts';
import { combinePolicies, openClusterPolicies, openPolicyFolder } from '../../policy/index.ts';
import type { PolicyFollower } from '../../policy/index.ts';
import type { PoliciesInForce } from '../../types.ts';
import type { WorkerSettings } from './protocol.ts';

/** The NetworkPolicies of the folder and of the cluster. */
export interface PolicySources {
  /** Returns a new follower, in place of an earlier one. */
  follow(): PolicyFollower;
  /**
   * Calls `act` soon after a change arrived from the cluster, together with all changes that arrive
   * meanwhile, and again until all changes are applied. Other calls run in between.
   * @param act returns whether the kernel has all changes now. If it throws, the upkeep tries again.
   * @returns a function that calls `act` soon
   */
  onChange(act: () => 'applied' | 'in part' | 'not open'): () => void;
  report(): PoliciesInForce;
  close(): void;
}

type Settings = Pick<WorkerSettings, 'databasePath' | 'checkedFolders' | 'policyCluster' | 'policyDir'> & {
  readonly log: Pick<Logger, 'error' | 'info' | 'warn'>;
};

/** Opens the sources. @returns once their policies are known, or after a while */
export async function openPolicySources({
  policyDir,
  policyCluster,
  databasePath,
  checkedFolders,
  log,
}: Settings): Promise<PolicySources> {
  const folder = await openPolicyFolder({
    folder: policyDir,
    at: readableAt(policyDir, checkedFolders),
    storedAt: `${databasePath}.policies`,
    log,
  });
  const cluster =
    policyCluster &&
    (await openClusterPolicies({ ...policyCluster, storedAt: `${databasePath}.cluster` }, log));

  return {
    follow: () => combinePolicies(folder, cluster),
    onChange(act) {
      let isWaiting = false;
      const actOnce = (): void => {
        isWaiting = false;
        try {
          const done = act();
          if (done === 'applied') cluster?.applied();
          else if (done === 'in part') soon();
        } catch (thrown) {
          log.warn(
            { why: reasonOf(thrown) },
            'changed NetworkPolicies could not be applied to the kernel; it is tried again',
          );
        }
      };
      const soon = (): void => {
        if (isWaiting) return;
        isWaiting = true;
        setImmediate(actOnce);
      };
      cluster?.onChange(soon);
      return soon;
    },
    report() {
      const { policies, problems } = folder.report();
      if (cluster === undefined) return { policies, problems };
      const { problems: ofCluster, ...report } = cluster.report();
      return {
        policies: policies + report.policies,
        problems: [...problems, ...ofCluster],
        cluster: report,
      };
    },
    close() {
      folder.close();
      void cluster?.close();
    },
  };
}
