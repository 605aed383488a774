import { isPortcullisError } from '../../base/errors/index.ts';
import type { TrustPolicy, Verdict } from '../../trust/index.ts';
import { findVerdict } from '../../trust/verdict-log/index.ts';
import { decideUnseen } from '../../trust/verdict/index.ts';
import type { Database } from '../../base/storage/index.ts';
import type { ContainerRecord } from '../containers/record.ts';
import { refusingRule } from '../images/index.ts';
import type { ImageStore } from '../images/types.ts';
import type { Outlook } from '../policy-delivery/activation.ts';
import type { LostAdmission } from '../policy-delivery/state.ts';
import type { Refusal } from '../policy-delivery/watch-refusals.ts';
import type { SandboxRecord } from '../pods/record.ts';
import type { WatchedRecords } from '../state/records.ts';
import { imagesOf, isAlive } from './container-decisions.ts';

export interface OutlookDeps {
  readonly policy: { current(): TrustPolicy | undefined };
  readonly images: Pick<ImageStore, 'foresee'>;
  readonly containers: Pick<WatchedRecords<ContainerRecord>, 'list'>;
  readonly sandbox: (id: string) => SandboxRecord | undefined;
}

/**
 * Returns what another policy would refuse of what runs now. It decides by recorded evidence, and logs
 * nothing.
 */
export function createOutlook({ policy, images, containers, sandbox }: OutlookDeps): Outlook {
  return {
    async foresee(next) {
      const current = policy.current();
      if (current === undefined) return [];
      const lost: LostAdmission[] = [];
      for (const record of containers.list().filter(isAlive)) {
        const namespace = sandbox(record.sandboxId)?.config.metadata?.namespace ?? '';
        for (const image of imagesOf(record)) {
          const input = { ...image, namespace };
          const refused = firstRefused(await images.foresee(next, input));
          // An image that the policy in force does not admit either is not lost.
          if (refused === undefined || firstRefused(await images.foresee(current, input)) !== undefined)
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

/**
 * Returns the image store, and reports each refusal of a pull or of a run with the question whether another
 * policy would have admitted the image.
 */
export function tellRefusals<Store extends Pick<ImageStore, 'pull' | 'decideForRun' | 'foresee'>>(
  images: Store,
  database: Pick<Database, 'get'>,
  told: (refusal: Refusal) => void,
): Store {
  const tell = (thrown: unknown, namespace: string): void => {
    const refusal = refusalIn(thrown, namespace);
    if (refusal === undefined) return;
    const admittedBy = (policy: TrustPolicy): Promise<boolean> =>
      wouldAdmit(images, database, refusal.verdict, policy);
    told({ ...refusal, admittedBy });
  };
  return {
    ...images,
    pull: async (request) => {
      try {
        return await images.pull(request);
      } catch (thrown) {
        tell(thrown, request.namespace);
        throw thrown;
      }
    },
    decideForRun: async (input) => {
      try {
        return await images.decideForRun(input);
      } catch (thrown) {
        tell(thrown, input.namespace);
        throw thrown;
      }
    },
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
