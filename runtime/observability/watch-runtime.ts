import { isPortcullisError } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { Verdict } from '../../trust/index.ts';
import type { ContainerRecord } from '../containers/record.ts';
import type { ImageStore } from '../images/types.ts';
import type { RecordChange, WatchedRecords } from '../state/records.ts';
import type { PullOutcome, RuntimeObserver } from './facts.ts';

/**
 * Reports starts and ends of containers to the observer, from their durable records. Returns a function that
 * unsubscribes.
 */
export function watchContainers(
  containers: Pick<WatchedRecords<ContainerRecord>, 'onChange'>,
  observer: RuntimeObserver,
): () => void {
  return containers.onChange(({ before, after }: RecordChange<ContainerRecord>) => {
    if (before === undefined || after === undefined) return;
    if (before.startedAt === '0' && after.startedAt !== '0') observer.started('ok');
    if (before.phase === 'exited' || after.phase !== 'exited') return;
    if (after.reason === 'StartError') observer.started('failed');
    observer.exited(after.reason);
  });
}

/** Returns the image store, and reports the outcomes of pulls and decisions to the observer. */
export function watchImages<Store extends ImageStore>(
  images: Store,
  observer: RuntimeObserver | undefined,
): Store {
  if (observer === undefined) return images;
  return {
    ...images,
    pull: async (request) => {
      const started = performance.now();
      const report = (outcome: PullOutcome): void =>
        observer.pulled(outcome, (performance.now() - started) / 1000);
      try {
        const pulled = await images.pull(request);
        report('admitted');
        observer.decided('admit', 'pull');
        return pulled;
      } catch (thrown) {
        const refused = refusalOf(thrown);
        report(refused === undefined ? failureOf(thrown) : refused === 'deny' ? 'denied' : 'undecided');
        if (refused !== undefined) observer.decided(refused, 'pull');
        throw thrown;
      }
    },
    decideForRun: (input) => countDecision(observer.decided, 'run', () => images.decideForRun(input)),
  };
}

export type CountDecision = RuntimeObserver['decided'];

/** Decides, and counts the outcome. A failure that is not a verdict is not counted. */
export async function countDecision<T>(
  decided: CountDecision,
  act: 'pull' | 'run',
  decide: () => Promise<T>,
): Promise<T> {
  try {
    const admitted = await decide();
    decided('admit', act);
    return admitted;
  } catch (thrown) {
    const refused = refusalOf(thrown);
    if (refused !== undefined) decided(refused, act);
    throw thrown;
  }
}

/**
 * Returns the image store, and logs a warning when an exception of the policy admitted an image that a rule
 * would have refused.
 */
export function reportExceptions<Store extends ImageStore>(
  images: Store,
  log: Logger,
  observer: RuntimeObserver | undefined,
): Store {
  const report = (verdict: Verdict, act: 'pull' | 'run'): void => {
    for (const exception of verdict.exceptions ?? []) {
      const { reference, digest, namespace, id } = verdict;
      log.warn(
        { ...exception, act, reference, digest, namespace, verdict: id },
        'a refusal was overridden by an exception of the policy',
      );
      observer?.excepted(exception.kind, act);
    }
  };
  return {
    ...images,
    pull: async (request) => {
      const pulled = await images.pull(request);
      report(pulled.verdict, 'pull');
      return pulled;
    },
    decideForRun: async (input) => {
      const verdict = await images.decideForRun(input);
      report(verdict, 'run');
      return verdict;
    },
  };
}

function refusalOf(thrown: unknown): 'deny' | 'undecided' | undefined {
  if (!isPortcullisError(thrown)) return undefined;
  if (thrown.code === 'IMAGES_UNDECIDED') return 'undecided';
  return thrown.code === 'IMAGES_DENIED' || thrown.code === 'IMAGES_NO_POLICY' ? 'deny' : undefined;
}

function failureOf(thrown: unknown): 'cancelled' | 'failed' {
  return isPortcullisError(thrown) && (thrown.kind === 'cancelled' || thrown.kind === 'deadline')
    ? 'cancelled'
    : 'failed';
}
