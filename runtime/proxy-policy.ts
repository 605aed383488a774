import type { RegistryClientOptions } from '../base/distribution/index.ts';
import type { Logger } from '../base/log/index.ts';
import type { Database } from '../base/storage/index.ts';
import { refuseNewPull } from './images/index.ts';
import type { FollowedPolicy } from './policy-source.ts';
import type { ProxyImages } from './proxy/images.ts';
import { reportOutOfPolicy } from './proxy/out-of-policy.ts';
import { imagesOf } from './proxy/records.ts';
import type { ProxyRecords } from './proxy/records.ts';
import { createOutlook, reportingRefusals } from './redecision/preview-refusals.ts';
import type { ReportingRefusals } from './redecision/preview-refusals.ts';

/** The policy of a proxy: it follows its source until it is closed. */
export interface ProxyPolicy {
  /**
   * Returns images of which nothing new is admitted while the source demands that. Refusals are reported to
   * the source: a release that refuses too much is halted.
   */
  decidedBy(images: ProxyImages): ProxyImages;
  /** Reads the files again, and asks the source now. */
  readonly reload: () => void;
  close(): Promise<void>;
}

/** Begins to follow the source, and to report containers that a new policy would not admit. */
export function openProxyPolicy(
  { policy, policyDelivery, clusterPolicy }: FollowedPolicy,
  deps: {
    readonly images: ProxyImages;
    readonly records: ProxyRecords;
    readonly database: Pick<Database, 'get'>;
    readonly registryOptions: RegistryClientOptions;
    readonly log: Logger;
  },
): ProxyPolicy {
  const { images, records, database, registryOptions, log } = deps;
  const endReports = reportOutOfPolicy(policy, images, records, log);
  policyDelivery?.begin({
    holder: policy,
    registries: registryOptions,
    outlook: createOutlook({
      ...{ policy, images, workloads: () => records.containers.list().map(imagesOf) },
    }),
  });
  clusterPolicy?.begin(policy);
  return {
    decidedBy(all) {
      const reporting: ReportingRefusals =
        policyDelivery === undefined
          ? (_, act) => act()
          : reportingRefusals(images, database, policyDelivery.refused);
      return {
        ...all,
        async verify(request) {
          refuseNewPull(request.reference, images, policy.refusesNew());
          return reporting(request.namespace, () => all.verify(request));
        },
        decideForRun: (input) => reporting(input.namespace, () => all.decideForRun(input)),
      };
    },
    reload() {
      void policy.reload();
      policyDelivery?.check();
    },
    async close() {
      await Promise.all([policyDelivery?.close(), clusterPolicy?.close()]);
      policy.close();
      await endReports();
    },
  };
}
