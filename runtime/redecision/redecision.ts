import { reasonOf } from '../../base/errors/index.ts';
import { smallest } from '../../base/lists/index.ts';
import type { TrustPolicy } from '../../trust/index.ts';
import type { ContainerRecord } from '../containers/record.ts';
import type { ImageStore } from '../images/types.ts';
import type { WatchedRecords } from '../state/records.ts';
import { createContainerDecisions, isAlive } from './container-decisions.ts';
import type { ContainerDecisionsDeps, OutOfPolicy, OutOfPolicyCount } from './container-decisions.ts';
import { createImageDecisions } from './image-decisions.ts';

export interface Redecision {
  /** Undefined: in policy, or not decided yet. */
  of(containerId: string): OutOfPolicy | undefined;
  /** Returns the numbers of containers out of policy, by namespace and rule. */
  counts(): readonly OutOfPolicyCount[];
  /** Returns the number of recorded images whose own pull would not be admitted now. */
  images(): number;
  /** Whether the latest request has been decided about everything. False before the first request. */
  isDecided(): boolean;
  /** Decides again about everything, in its turn. */
  request(): void;
  /** Calls the listener whenever no container waits for its decision any more. It must not throw. */
  onContainersDecided(listener: () => void): void;
  /** Waits for the current decision; no decision follows. */
  close(): Promise<void>;
}

interface RedecisionDeps extends Omit<ContainerDecisionsDeps, 'now'> {
  readonly policy: { current(): TrustPolicy | undefined; onChange(listener: () => void): () => void };
  readonly images: Pick<ImageStore, 'list' | 'find' | 'judge'>;
  readonly containers: Pick<WatchedRecords<ContainerRecord>, 'get' | 'list' | 'onChange'>;
  readonly now?: () => Date;
}

/** Decisions take at most this share of the main thread's time, and a pause follows each. */
const share = 0.2;
const leastPauseMs = 2;
/** A clock that was set, and by how much: verdicts depend on the time. */
const clockLookMs = 60_000;
const clockStepMs = 10_000;
const longestTimer = 0x7fff_ffff;

export function createRedecision(deps: RedecisionDeps): Redecision {
  const { policy, containers, log, now = () => new Date() } = deps;
  const ofContainers = createContainerDecisions({ ...deps, now });
  const ofImages = createImageDecisions(deps.images, log);
  const waiting = new Set<string>();
  const waitingImages = new Set<string>();
  let running: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  const listeners = new Set<() => void>();
  let closed = false;
  let requested = false;

  /** Changes when the clock is set. */
  const clockOffset = (): number => now().getTime() - performance.now();
  let decidedOffset = clockOffset();
  // A container that was refused while the clock ran ahead has a verdict that does not expire.
  const clockLook = setInterval(() => {
    if (requested && Math.abs(clockOffset() - decidedOffset) > clockStepMs) request();
  }, clockLookMs).unref();

  function request(): void {
    requested = true;
    decidedOffset = clockOffset();
    for (const record of containers.list()) if (isAlive(record)) waiting.add(record.id);
    for (const { id } of deps.images.list()) waitingImages.add(id);
    go();
  }
  function go(): void {
    if (closed || running !== undefined) return;
    running = walk().finally(() => {
      running = undefined;
      if (waiting.size + waitingImages.size > 0) go();
      else arm();
    });
  }
  /** Containers first, because they run. */
  async function walk(): Promise<void> {
    for (;;) {
      const [container] = waiting;
      const [image] = waitingImages;
      if (closed || policy.current() === undefined || (container === undefined && image === undefined)) {
        waiting.clear();
        waitingImages.clear();
        return;
      }
      const started = performance.now();
      try {
        if (container !== undefined) {
          waiting.delete(container);
          if (!(await ofContainers.decide(container))) waiting.delete(container);
        } else if (image !== undefined) {
          waitingImages.delete(image);
          await ofImages.decide(image);
        }
      } catch (error) {
        log.error(
          { container, image, cause: reasonOf(error) },
          'the decision could not be repeated; the next change of the policy tries again',
        );
      }
      if (container !== undefined && waiting.size === 0) for (const listener of listeners) listener();
      await pause(Math.max(leastPauseMs, (performance.now() - started) * (1 / share - 1)));
    }
  }

  /** Sets the timer for the time when the first verdict expires. */
  function arm(): void {
    const { ends } = ofContainers;
    clearTimeout(timer);
    if (closed || ends.size === 0) return;
    const first = smallest([...ends.values()].map((end) => Date.parse(end)));
    timer = setTimeout(
      () => {
        const at = now().getTime();
        for (const [id, end] of ends) if (Date.parse(end) <= at) waiting.add(id);
        if (waiting.size > 0) go();
        else arm();
      },
      Math.min(Math.max(first - now().getTime(), 50), longestTimer),
    ).unref();
  }

  const unsubscribe = [
    policy.onChange(request),
    containers.onChange(({ before, after }) => {
      if (after === undefined || !isAlive(after)) {
        const id = (after ?? before)?.id ?? '';
        ofContainers.forget(id);
        waiting.delete(id);
        return;
      }
      // It was admitted a moment ago; the policy may have changed between that and its record.
      if (before?.phase === 'creating') {
        waiting.add(after.id);
        go();
      }
    }),
  ];

  return {
    of: ofContainers.of,
    counts: ofContainers.counts,
    images: ofImages.count,
    isDecided: () => requested && running === undefined && waiting.size + waitingImages.size === 0,
    request,
    onContainersDecided: (listener) => void listeners.add(listener),
    async close() {
      closed = true;
      clearTimeout(timer);
      clearInterval(clockLook);
      for (const stop of unsubscribe) stop();
      await running;
    },
  };
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds).unref());
}
