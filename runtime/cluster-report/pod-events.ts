import { createHash } from 'node:crypto';
import { reasonOf } from '../../base/errors/index.ts';
import { smallest } from '../../base/lists/index.ts';
import { retryAfterOf, statusOf } from '../../base/kubernetes/index.ts';
import type { ApiClient } from '../../base/kubernetes/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { shortened } from './conditions.ts';
import type { PodOutOfPolicy } from './pod-facts.ts';

export interface EventTiming {
  /** Events that may be written at once. */
  readonly burst: number;
  /** Afterwards, one event in this time, in ms. */
  readonly everyMs: number;
  /** An event is repeated while its reason holds: API servers keep events for an hour. In ms. */
  readonly repeatMs: number;
  /** The first wait after a failure, in ms. It doubles each time. */
  readonly firstWaitMs: number;
  readonly longestWaitMs: number;
}

export const usualEventTiming: EventTiming = {
  burst: 10,
  everyMs: 5000,
  repeatMs: 30 * 60_000,
  firstWaitMs: 1000,
  longestWaitMs: 60_000,
};

export interface PodEvents {
  /**
   * Reports the pods that have images out of policy now, and those that had some and have none any more.
   * @param alive uids of the pods that run: nothing is reported about others
   */
  report(pods: ReadonlyMap<string, PodOutOfPolicy>, alive: ReadonlySet<string>): void;
  /** Ends the request in progress; nothing follows. */
  close(): Promise<void>;
}

/** The knowledge about a pod that has, or had, images out of policy. */
interface ReportedPod {
  pod: PodOutOfPolicy;
  /** False: the policy admits its images again. */
  isOut: boolean;
  /** The content of the last event; empty: none has been written yet. */
  said: string;
  /** Whether an event may have been written: one was sent. */
  isSent: boolean;
  /** On the clock of `performance`. */
  at: number;
  count: number;
}

const longestMessage = 1024;
/** A name of an object has at most 253 characters, of which 17 are a dot and a hash. */
const longestName = 236;
const label = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/u;

/**
 * Writes events (core/v1) about pods. One event for each pod and each set of its images, however often the
 * node decides about them; another one only after `repeatMs`. A node whose images all become out of policy
 * writes no more than `burst` events at once. What the API server refuses is not tried again.
 */
export function createPodEvents(
  client: Pick<ApiClient, 'send'>,
  {
    nodeName,
    log,
    timing = usualEventTiming,
  }: { readonly nodeName: string; readonly log: Logger; readonly timing?: EventTiming },
): PodEvents {
  const known = new Map<string, ReportedPod>();
  const stop = new AbortController();
  const write = eventWriter(client, nodeName, stop.signal);
  let tokens = timing.burst;
  let filledAt = performance.now();
  let failures = 0;
  let waitUntil = 0;
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;
  let warned = '';

  /** Whether an event has to be written now; a time if it has to be repeated then. */
  const dueAt = (entry: ReportedPod): number => {
    if (entry.said !== contentOf(entry)) return 0;
    return entry.isOut ? entry.at + timing.repeatMs : Infinity;
  };
  const fill = (): void => {
    const added = Math.floor((performance.now() - filledAt) / timing.everyMs);
    tokens = Math.min(timing.burst, tokens + added);
    filledAt = tokens === timing.burst ? performance.now() : filledAt + added * timing.everyMs;
  };
  const failed = (thrown: unknown): void => {
    const status = statusOf(thrown);
    const why = reasonOf(thrown);
    if (warned !== why) log.warn({ problem: why }, 'an event about a pod could not be written');
    warned = why;
    // The namespace or the right is missing: another attempt has the same answer.
    if (status !== undefined && status >= 400 && status < 500 && status !== 429) return;
    failures += 1;
    const wait = Math.min(timing.longestWaitMs, timing.firstWaitMs * 2 ** Math.min(failures - 1, 20));
    waitUntil = performance.now() + Math.max(wait * (0.5 + Math.random() / 2), retryAfterOf(thrown));
    throw thrown;
  };

  async function writeOne(uid: string, entry: ReportedPod): Promise<void> {
    const [said, isRepeated] = [contentOf(entry), entry.said === contentOf(entry)];
    tokens -= 1;
    entry.isSent = true;
    try {
      await write(entry, isRepeated ? entry.count + 1 : 1).catch(failed);
    } catch {
      // The others come first: a limit of one namespace must not delay the events of all.
      if (known.get(uid) === entry && known.delete(uid)) known.set(uid, entry);
      return;
    }
    [failures, entry.said, entry.at] = [0, said, performance.now()];
    entry.count = isRepeated ? entry.count + 1 : 1;
    // While the event was written, the pod may have become in policy again.
    if (!entry.isOut && said === contentOf(entry) && known.get(uid) === entry) known.delete(uid);
  }

  async function walk(): Promise<void> {
    for (;;) {
      fill();
      const now = performance.now();
      const next = [...known].find(([, entry]) => dueAt(entry) <= now);
      if (stop.signal.aborted || next === undefined || tokens < 1 || now < waitUntil) return;
      await writeOne(...next);
    }
  }
  function go(): void {
    clearTimeout(timer);
    if (stop.signal.aborted || running !== undefined) return;
    running = walk().finally(() => {
      running = undefined;
      arm();
    });
  }
  function arm(): void {
    if (stop.signal.aborted || known.size === 0) return;
    const first = smallest([...known.values()].map(dueAt));
    if (first === Infinity) return;
    const token = tokens < 1 ? filledAt + timing.everyMs : 0;
    const wait = Math.max(first, token, waitUntil) - performance.now();
    timer = setTimeout(go, Math.max(10, wait)).unref();
  }

  return {
    report(pods, alive) {
      for (const [uid, entry] of known) {
        if (!alive.has(uid) || (!pods.has(uid) && !entry.isSent)) known.delete(uid);
        else if (!pods.has(uid)) entry.isOut = false;
      }
      for (const [uid, pod] of pods) {
        if (!alive.has(uid) || !label.test(pod.name) || !label.test(pod.namespace)) continue;
        const entry = known.get(uid);
        if (entry === undefined)
          known.set(uid, { pod, isOut: true, said: '', isSent: false, at: 0, count: 0 });
        else [entry.pod, entry.isOut] = [pod, true];
      }
      go();
    },
    async close() {
      stop.abort(new Error('the daemon is stopping'));
      clearTimeout(timer);
      await running;
    },
  };
}

/** Returns the content of an event, without parts that change with each decision, such as ids of verdicts. */
function contentOf({ pod, isOut }: Pick<ReportedPod, 'isOut' | 'pod'>): string {
  return JSON.stringify([
    isOut,
    pod.containers.map(({ name, reference, outcome }) => [name, reference, outcome]),
  ]);
}

/** Returns the function that creates an event, or renews the one that exists. */
function eventWriter(
  client: Pick<ApiClient, 'send'>,
  nodeName: string,
  signal: AbortSignal,
): (entry: ReportedPod, count: number) => Promise<void> {
  const create = (collection: string, event: object): Promise<unknown> =>
    client.send({ method: 'POST', path: collection, body: event }, signal);
  return async (entry, count) => {
    const event = eventOf(entry, count, nodeName);
    const { namespace, name } = event.metadata;
    const collection = `/api/v1/namespaces/${namespace}/events`;
    const renew = (body: object): Promise<unknown> =>
      client.send({ method: 'PATCH', path: `${collection}/${name}`, body }, signal);
    const { message, lastTimestamp } = event;
    if (count > 1)
      try {
        await renew({ message, lastTimestamp, count });
        return;
      } catch (thrown) {
        // It has expired.
        if (statusOf(thrown) !== 404) throw thrown;
      }
    try {
      await create(collection, event);
    } catch (thrown) {
      // An earlier run of the daemon has written it. It may read no event, and keeps its count.
      if (statusOf(thrown) !== 409) throw thrown;
      await renew({ message, lastTimestamp });
    }
  };
}

/** Returns an event in the form of Kubernetes API reference, "Event v1 core". */
function eventOf(entry: ReportedPod, count: number, nodeName: string) {
  const { pod, isOut } = entry;
  const { namespace, name, uid } = pod;
  const hash = createHash('sha256')
    .update(`${uid}\n${contentOf(entry)}`)
    .digest('hex')
    .slice(0, 16);
  const at = `${new Date().toISOString().slice(0, 19)}Z`;
  const [only] = pod.containers;
  const fieldPath =
    pod.containers.length === 1 && only !== undefined ? `spec.containers{${only.name}}` : undefined;
  return {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { namespace, name: `${name.slice(0, longestName).replace(/[.-]+$/u, '')}.${hash}` },
    involvedObject: {
      ...{ apiVersion: 'v1', kind: 'Pod', namespace, name, uid },
      ...(fieldPath !== undefined && { fieldPath }),
    },
    type: isOut ? 'Warning' : 'Normal',
    reason: isOut ? 'ImageOutOfPolicy' : 'ImageInPolicy',
    message: shortened(isOut ? outMessage(pod) : inMessage(pod), longestMessage),
    source: { component: 'portcullisd', host: nodeName },
    reportingComponent: 'portcullisd',
    reportingInstance: nodeName,
    firstTimestamp: at,
    lastTimestamp: at,
    count,
  };
}

function outMessage({ containers }: PodOutOfPolicy): string {
  return containers
    .map(({ name, reference, outcome, verdict, reasons }) => {
      const what = outcome === 'deny' ? 'no longer admits' : 'cannot be decided about';
      const id = verdict === '' ? '' : ` (verdict ${verdict})`;
      return `container ${name}: the policy ${what} ${reference}${id}:\n${reasons.join('\n')}`;
    })
    .join('\n');
}

const inMessage = ({ containers }: PodOutOfPolicy): string =>
  `the policy admits ${containers.map(({ reference }) => reference).join(', ')} again`;
