import { isPortcullisError } from '../../base/errors/index.ts';
import type { TrustPolicy, Verdict } from '../../trust/index.ts';
import { findVerdict } from '../../trust/verdict-log/index.ts';
import { decideUnseen } from '../../trust/verdict/index.ts';
import type { Database } from '../../base/storage/index.ts';
import type { ContainerRecord } from '../containers/record.ts';
import { refusingRule } from '../images/index.ts';
import type { ImageStore, JudgedImage } from '../images/types.ts';
import type { Outlook } from '../policy-delivery/activation.ts';
import type { LostAdmission } from '../policy-delivery/state.ts';
import type { Refusal } from '../policy-delivery/watch-refusals.ts';
import type { SandboxRecord } from '../pods/record.ts';
import type { WatchedRecords } from '../state/records.ts';
import { imagesOf, isAlive } from './container-decisions.ts';

export interface OutlookDeps {
  readonly policy: { current(): TrustPolicy | undefined };
  readonly images: Pick<ImageStore, 'foresee'>;
  /** The images of each workload that runs now. */
  readonly workloads: () => readonly (readonly JudgedImage[])[];
}

/** Returns the images of each running container of the daemon. */
export const runningWorkloads =
  (
    containers: Pick<WatchedRecords<ContainerRecord>, 'list'>,
    sandbox: (id: string) => SandboxRecord | undefined,
  ): OutlookDeps['workloads'] =>
  () =>
    containers
      .list()
      .filter(isAlive)
      .map((record) => {
        const namespace = sandbox(record.sandboxId)?.config.metadata?.namespace ?? '';
        return imagesOf(record).map((image) => ({ ...image, namespace }));
      });

/**
 * Returns what another policy would refuse of what runs now. It decides by recorded evidence, and logs
 * nothing.
 */
export function createOutlook({ policy, images, workloads }: OutlookDeps): Outlook {
  return {
    async foresee(next) {
      const current = policy.current();
      if (current === undefined) return [];
      const lost: LostAdmission[] = [];
      for (const workload of workloads()) {
        for (const image of workload) {
          const refused = firstRefused(await images.foresee(next, image));
          // An image that the policy in force does not admit either is not lost.
          if (refused === undefined || firstRefused(await images.foresee(current, image)) !== undefined)
            continue;
          lost.push(lostBy(refused));
          break;
        }
      }
      return lost;
    },
  };
}

const firstRefused = (verdicts: readonly Verdict[]): Verdict | undefined =>
  verdicts.find(({ outcome }) => outcome !== 'admit');

const lostBy = (refused: Verdict): LostAdmission => ({
  namespace: refused.namespace,
  reference: refused.reference,
  outcome: refused.outcome === 'undecided' ? 'undecided' : 'deny',
  rule: refusingRule(refused.reasons) ?? '',
});

/** Runs an action for a namespace, and reports the refusal if it is refused. */
export type ReportingRefusals = <Result>(namespace: string, act: () => Promise<Result>) => Promise<Result>;

/** Reports each refusal with the question whether another policy would have admitted the image. */
export const reportingRefusals =
  (
    images: Pick<ImageStore, 'foresee'>,
    database: Pick<Database, 'get'>,
    report: (refusal: Refusal) => void,
  ): ReportingRefusals =>
  async (namespace, act) => {
    try {
      return await act();
    } catch (thrown) {
      const refusal = refusalIn(thrown, namespace);
      if (refusal !== undefined) {
        const admittedBy = (policy: TrustPolicy): Promise<boolean> =>
          wouldAdmit(images, database, refusal.verdict, policy);
        report({ ...refusal, admittedBy });
      }
      throw thrown;
    }
  };

/** Returns the image store, and reports each refusal of a pull or of a run. */
export function reportRefusals<Store extends Pick<ImageStore, 'pull' | 'decideForRun' | 'foresee'>>(
  images: Store,
  database: Pick<Database, 'get'>,
  report: (refusal: Refusal) => void,
): Store {
  const reporting = reportingRefusals(images, database, report);
  return {
    ...images,
    pull: (request) => reporting(request.namespace, () => images.pull(request)),
    decideForRun: (input) => reporting(input.namespace, () => images.decideForRun(input)),
  };
}

async function wouldAdmit(
  images: Pick<ImageStore, 'foresee'>,
  database: Pick<Database, 'get'>,
  verdictId: string,
  policy: TrustPolicy,
): Promise<boolean> {
  const verdict = await findVerdict(database, verdictId);
  if (verdict === undefined) return false;
  const { reference, namespace, platform } = verdict;
  // Refused before anything was fetched: the other policy would at least have looked at the evidence.
  if (verdict.digest === '')
    return decideUnseen({ policy, reference, namespace, platform, now: new Date() }) === undefined;
  const verdicts = await images.foresee(policy, { imageId: '', verdictId, userSpecified: '', namespace });
  return verdicts.length > 0 && firstRefused(verdicts) === undefined;
}

function refusalIn(thrown: unknown, namespace: string): Omit<Refusal, 'admittedBy'> | undefined {
  if (!isPortcullisError(thrown)) return undefined;
  if (thrown.code !== 'IMAGES_DENIED' && thrown.code !== 'IMAGES_UNDECIDED') return undefined;
  const { verdictId, rule } = thrown.failure.details ?? {};
  if (typeof verdictId !== 'string') return undefined;
  return {
    ...{ namespace, reference: thrown.failure.on, verdict: verdictId },
    outcome: thrown.code === 'IMAGES_DENIED' ? 'deny' : 'undecided',
    rule: typeof rule === 'string' ? rule : '',
  };
}
