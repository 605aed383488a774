import { reasonOf } from '../../base/errors/index.ts';
import { append, smallest } from '../../base/lists/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { explainReason } from '../../trust/index.ts';
import type { TrustPolicy, Verdict } from '../../trust/index.ts';
import type { ContainerRecord } from '../containers/record.ts';
import { isImageVolume } from '../containers/host-request.ts';
import { refusingRule } from '../images/index.ts';
import type { ImageStore, JudgedImage } from '../images/types.ts';
import type { SandboxRecord } from '../pods/record.ts';
import type { WatchedRecords } from '../state/records.ts';
import { earliestEnd } from './validity.ts';

/** Why a running container would not be admitted now. */
export interface OutOfPolicy {
  /** ISO 8601: when it was found. */
  readonly since: string;
  readonly outcome: 'deny' | 'undecided';
  /** `FILE:LINE` of the rule that refuses; empty when no rule applies to the image any more. */
  readonly rule: string;
  readonly reference: string;
  readonly verdict: string;
  readonly policyRevision: string;
  readonly reasons: readonly string[];
}

export interface Redecision {
  /** Undefined: in policy, or not decided yet. */
  of(containerId: string): OutOfPolicy | undefined;
  /** Returns the numbers of containers out of policy, by namespace and rule. */
  counts(): readonly { readonly namespace: string; readonly rule: string; readonly count: number }[];
  /** Returns the number of recorded images whose own pull would not be admitted now. */
  images(): number;
  /** Decides again about everything, in its turn. */
  request(): void;
  /** Waits for the current decision; no decision follows. */
  close(): Promise<void>;
}

interface Parts {
  readonly policy: { current(): TrustPolicy | undefined; onChange(listener: () => void): () => void };
  readonly images: Pick<ImageStore, 'list' | 'find' | 'judge'>;
  readonly containers: Pick<WatchedRecords<ContainerRecord>, 'get' | 'list' | 'onChange'>;
  readonly sandbox: (id: string) => SandboxRecord | undefined;
  /** From the configuration: only report, or stop the container as well. */
  readonly act: 'report' | 'stop';
  readonly stop: (containerId: string, timeoutSeconds: number) => Promise<void>;
  /** Called on each change; `found` is undefined when a container is in policy again. */
  readonly onChange: (container: ContainerRecord, found: OutOfPolicy | undefined) => void;
  readonly log: Logger;
  readonly now?: () => Date;
}

/** The default that Kubernetes gives a pod (terminationGracePeriodSeconds). */
const graceSeconds = 30;
/** Decisions take at most this share of the main thread's time, and a pause follows each. */
const share = 0.2;
const leastPauseMs = 2;
const mostReasons = 24;
const longestTimer = 0x7fff_ffff;

const alive = new Set<ContainerRecord['phase']>(['created', 'starting', 'running']);

export function createRedecision(parts: Parts): Redecision {
  const { policy, images, containers, log, now = () => new Date() } = parts;
  const found = new Map<string, OutOfPolicy>();
  const imagesOut = new Set<string>();
  const waiting = new Set<string>();
  const waitingImages = new Set<string>();
  const ends = new Map<string, string>();
  let running: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  const forget = (id: string): void => {
    found.delete(id);
    ends.delete(id);
    waiting.delete(id);
  };
  function request(): void {
    for (const { id, phase } of containers.list()) if (alive.has(phase)) waiting.add(id);
    for (const { id } of images.list()) waitingImages.add(id);
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
          await decideContainer(container);
        } else if (image !== undefined) {
          waitingImages.delete(image);
          await decideImage(image);
        }
      } catch (error) {
        log.error({ container, image, cause: reasonOf(error) }, 'could not be decided again; the next change of the policy tries again');
      }
      await pause(Math.max(leastPauseMs, (performance.now() - started) * (1 / share - 1)));
    }
  }

  async function decideContainer(id: string): Promise<void> {
    const record = containers.get(id);
    if (record === undefined || !alive.has(record.phase)) return forget(id);
    const namespace = parts.sandbox(record.sandboxId)?.config.metadata?.namespace ?? '';
    const verdicts: Verdict[] = [];
    let unknown: string | undefined;
    for (const image of imagesOf(record)) {
      const given = await images.judge({ ...image, namespace });
      // Without evidence there is no proof: an image without a record is not in policy.
      if (given.length === 0) unknown ??= image.userSpecified || image.imageId;
      append(verdicts, given);
    }
    // It may have ended while its verdict was written.
    const current = containers.get(id);
    if (current === undefined || !alive.has(current.phase)) return forget(id);
    const end = earliestEnd(verdicts, now());
    if (end === undefined) ends.delete(id);
    else ends.set(id, end);
    const refused = verdicts.find(({ outcome }) => outcome !== 'admit');
    const before = found.get(id);
    if (refused === undefined && unknown !== undefined)
      return settle(current, namespace, {
        since: before?.since ?? now().toISOString(),
        outcome: 'undecided',
        rule: '',
        reference: unknown,
        verdict: '',
        policyRevision: policy.current()?.revision ?? '',
        reasons: [`${unknown}: neither the image nor a verdict on it is recorded any more, so that nothing can be decided about it`],
      });
    if (refused === undefined) return settle(current, namespace, undefined);
    settle(current, namespace, {
      since: before?.since ?? now().toISOString(),
      outcome: refused.outcome === 'undecided' ? 'undecided' : 'deny',
      rule: refusingRule(refused.reasons) ?? '',
      reference: refused.reference,
      verdict: refused.id,
      policyRevision: refused.policyRevision,
      reasons: explainReason(refused.reasons).trimEnd().split('\n').slice(0, mostReasons),
    });
  }

  function settle(record: ContainerRecord, namespace: string, next: OutOfPolicy | undefined): void {
    const before = found.get(record.id);
    if (next === undefined) found.delete(record.id);
    else found.set(record.id, next);
    if (before?.verdict !== next?.verdict) {
      const facts = { container: record.id, namespace, name: record.config.metadata?.name ?? '' };
      if (next === undefined) log.info(facts, 'a container is in policy again');
      else {
        const { rule, reference, verdict, policyRevision, outcome } = next;
        log.warn({ ...facts, rule, reference, outcome, verdict, policyRevision, act: parts.act }, 'a running container is out of policy');
      }
      parts.onChange(record, next);
    }
    // An undecided verdict denies a new container, but a running container is not ended because a source
    // could not be asked.
    if (parts.act !== 'stop' || next?.outcome !== 'deny') return;
    parts.stop(record.id, graceSeconds).then(
      () =>
        log.warn(
          { container: record.id, namespace, rule: next.rule, verdict: next.verdict },
          'a container was stopped because it is out of policy',
        ),
      (error: unknown) =>
        log.error({ container: record.id, cause: reasonOf(error) }, 'a container that is out of policy could not be stopped'),
    );
  }

  async function decideImage(id: string): Promise<void> {
    const record = images.find(id);
    if (record === undefined) return void imagesOut.delete(id);
    const verdicts = await images.judge({ imageId: id, verdictId: record.verdictId, userSpecified: '' });
    const refused = verdicts.find(({ outcome }) => outcome !== 'admit');
    if (refused === undefined && verdicts.length > 0) return void imagesOut.delete(id);
    if (imagesOut.has(id)) return;
    imagesOut.add(id);
    log.info(
      { image: id, reference: refused?.reference, verdict: refused?.id, rule: refused && refusingRule(refused.reasons) },
      'a recorded image is out of policy',
    );
  }

  /** Sets the timer for the time when the first verdict expires. */
  function arm(): void {
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
      if (after === undefined || !alive.has(after.phase)) return forget((after ?? before)?.id ?? '');
      // It was admitted a moment ago; the policy may have changed between that and its record.
      if (before?.phase === 'creating') {
        waiting.add(after.id);
        go();
      }
    }),
  ];

  return {
    of: (id) => found.get(id),
    counts: () => countsOf(found, (id) => parts.sandbox(containers.get(id)?.sandboxId ?? '')?.config.metadata?.namespace ?? ''),
    images: () => imagesOut.size,
    request,
    async close() {
      closed = true;
      clearTimeout(timer);
      for (const stop of unsubscribe) stop();
      await running;
    },
  };
}

/** Returns the container's own image and the images of its image volumes. */
function imagesOf(record: ContainerRecord): readonly Omit<JudgedImage, 'namespace'>[] {
  const own = { imageId: record.imageId, verdictId: record.verdictId, userSpecified: record.config.image?.userSpecifiedImage ?? '' };
  const volumes = record.config.mounts
    .filter(isImageVolume)
    .map(({ image }) => ({ imageId: image?.image ?? '', verdictId: '', userSpecified: image?.userSpecifiedImage ?? '' }));
  return [own, ...volumes];
}

function countsOf(found: ReadonlyMap<string, OutOfPolicy>, namespaceOf: (id: string) => string): ReturnType<Redecision['counts']> {
  const counts = new Map<string, { namespace: string; rule: string; count: number }>();
  for (const [id, { rule }] of found) {
    const namespace = namespaceOf(id);
    const key = JSON.stringify([namespace, rule]);
    const one = counts.get(key) ?? { namespace, rule, count: 0 };
    counts.set(key, { ...one, count: one.count + 1 });
  }
  return [...counts.values()];
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds).unref());
}
