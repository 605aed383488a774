import { reasonOf } from '../../base/errors/index.ts';
import {
  createApiClient,
  createCollection,
  follow,
  readApiAccess,
  retryAfterOf,
  usualTiming,
} from '../../base/kubernetes/index.ts';
import type { ApiClient, ApiPlace, FollowTiming } from '../../base/kubernetes/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { ContainerRecord } from '../containers/record.ts';
import type { SandboxRecord } from '../pods/record.ts';
import type { PolicyHolder } from '../policy/policy-watch.ts';
import type { Redecision } from '../redecision/redecision.ts';
import { conditionsOf } from './conditions.ts';
import type { ConditionFacts, NodeCondition } from './conditions.ts';
import { createNodeStatus } from './node-status.ts';
import { createPodEvents, usualEventTiming } from './pod-events.ts';
import type { EventTiming } from './pod-events.ts';
import { podsOutOfPolicy } from './pod-facts.ts';
import { compareHandlers, readRuntimeClass } from './runtime-classes.ts';
import type { RuntimeClass } from './runtime-classes.ts';

/** In ms. */
export interface ReportTiming {
  /** How often the node is looked at. */
  readonly lookMs: number;
  /** Each node waits for a random part of this time after a change, so that not all write at once. */
  readonly spreadMs: number;
  /** As `spreadMs`, when the status of a condition changes. */
  readonly urgentMs: number;
  /** How often conditions are written that have not changed, so that an old report is seen to be old. */
  readonly heartbeatMs: number;
  readonly longestWaitMs: number;
  readonly events: EventTiming;
  readonly follow: FollowTiming;
}

export const usualReportTiming: ReportTiming = {
  lookMs: 5000,
  spreadMs: 60_000,
  urgentMs: 5000,
  heartbeatMs: 5 * 60_000,
  longestWaitMs: 5 * 60_000,
  events: usualEventTiming,
  follow: usualTiming,
};

export interface ClusterReportDeps {
  readonly place: ApiPlace;
  readonly nodeName: string;
  readonly source: ConditionFacts['source'];
  readonly policy: Pick<PolicyHolder, 'current' | 'problem'>;
  readonly redecision: Pick<Redecision, 'images' | 'isDecided' | 'of' | 'onContainersDecided'>;
  readonly containers: { list(): readonly ContainerRecord[] };
  readonly sandboxes: {
    get(id: string): SandboxRecord | undefined;
    list(): readonly SandboxRecord[];
  };
  /** Names of the handlers that answer; the empty name is the default one. */
  readonly handlers: ReadonlySet<string>;
  readonly defaultHandler: string;
  readonly log: Logger;
  readonly timing?: ReportTiming;
}

/** How long after its start the daemon reports no condition that it does not know yet, in ms. */
const firstGraceMs = 60_000;

/** Reports to the cluster until it is closed. Nothing waits for the cluster. */
export function openClusterReport(deps: ClusterReportDeps): { close(): Promise<void> } {
  const { place, nodeName, log, timing = usualReportTiming } = deps;
  const client = createApiClient(() => readApiAccess(place), {
    userAgent: 'portcullis',
    rights:
      'get its node, patch the status of its node, list and watch runtimeclasses, and create and patch events',
    meanwhile: 'the cluster does not know which images on this node are out of policy',
  });
  const stop = new AbortController();
  const classes = followRuntimeClasses(client, stop.signal, log, timing.follow);
  const node = createNodeStatus(client, nodeName);
  const events = createPodEvents(client, { nodeName, log, timing: timing.events });
  const writer = createConditionWriter(node.write, { timing, log, signal: stop.signal });
  let isRead = false;
  let running: Promise<void> | undefined;

  const { policy, redecision, containers, sandboxes } = deps;
  function reportPods(): ReturnType<typeof podsOutOfPolicy> {
    const pods = podsOutOfPolicy(containers.list(), sandboxes.get, redecision);
    const alive = sandboxes.list().map(({ config }) => config.metadata?.uid ?? '');
    events.report(pods, new Set(alive));
    return pods;
  }
  // Not only at the next look: after a restart, the policy of the cluster may arrive before it. A pod that is
  // in policy again by then would get no event.
  redecision.onContainersDecided(reportPods);
  async function look(): Promise<void> {
    if (!isRead && (await writer.tried(() => node.read(stop.signal)))) isRead = true;
    const pods = reportPods();
    if (!isRead) return;
    await writer.write(
      conditionsOf({
        revision: policy.current()?.revision,
        ...{ problem: policy.problem(), source: deps.source, isDecided: redecision.isDecided() },
        ...{ pods: [...pods.values()], images: redecision.images() },
        handlers: classes.came()
          ? compareHandlers(classes.list(), deps.handlers, node.labels(), deps.defaultHandler)
          : undefined,
      }),
    );
  }
  const ticking = setInterval(() => {
    running ??= look()
      .catch((thrown: unknown) => {
        if (!stop.signal.aborted)
          log.error({ cause: reasonOf(thrown) }, 'the node could not be reported to the cluster');
      })
      .finally(() => {
        running = undefined;
      });
  }, timing.lookMs);
  ticking.unref();
  return {
    async close() {
      clearInterval(ticking);
      stop.abort(new Error('the daemon is stopping'));
      await Promise.all([running, events.close(), classes.ended]);
      client.close();
    },
  };
}

/** Follows the RuntimeClasses of the cluster. */
function followRuntimeClasses(client: ApiClient, signal: AbortSignal, log: Logger, timing: FollowTiming) {
  const classes = new Map<string, RuntimeClass>();
  let away = false;
  const collection = createCollection(
    readRuntimeClass,
    () => classes.keys(),
    (key, one) => void (one === undefined ? classes.delete(key) : classes.set(key, one)),
  );
  const ended = follow(
    client,
    { path: '/apis/node.k8s.io/v1/runtimeclasses', query: {} },
    {
      ...collection,
      paged: () => undefined,
      reached: () => void (away = false),
      failed(thrown) {
        if (!away)
          log.warn({ problem: reasonOf(thrown) }, 'the RuntimeClasses of the cluster cannot be watched');
        away = true;
      },
    },
    signal,
    timing,
  );
  return { ended, came: collection.came, list: () => [...classes.values()] };
}

/**
 * Writes conditions when they have changed, and as a heartbeat. Failures are logged when they begin and when
 * they are over, and are followed by longer and longer waits.
 */
function createConditionWriter(
  send: (conditions: readonly NodeCondition[], signal: AbortSignal) => Promise<void>,
  {
    timing,
    log,
    signal,
  }: { readonly timing: ReportTiming; readonly log: Logger; readonly signal: AbortSignal },
) {
  const graceUntil = performance.now() + firstGraceMs;
  let written: readonly NodeCondition[] = [];
  let due: { readonly spread: number; readonly at: number } | undefined;
  let beatAt = 0;
  let waitUntil = 0;
  let failures = 0;

  /** Returns whether it succeeded. */
  async function tried(act: () => Promise<void>): Promise<boolean> {
    if (performance.now() < waitUntil) return false;
    try {
      await act();
    } catch (thrown) {
      if (signal.aborted) return false;
      failures += 1;
      const wait = Math.min(timing.longestWaitMs, timing.lookMs * 2 ** Math.min(failures, 20));
      waitUntil = performance.now() + Math.max(wait * (0.5 + Math.random() / 2), retryAfterOf(thrown));
      if (failures === 1)
        log.warn({ problem: reasonOf(thrown) }, 'the conditions of the node could not be written');
      return false;
    }
    if (failures > 0) log.info({}, 'the conditions of the node can be written again');
    failures = 0;
    return true;
  }

  /** How long a change may wait; undefined: there is none. */
  function spreadOf(conditions: readonly NodeCondition[]): number | undefined {
    const statuses = (of: readonly NodeCondition[]): string => of.map(({ status }) => status).join(' ');
    if (statuses(conditions) !== statuses(written)) return timing.urgentMs;
    return JSON.stringify(conditions) === JSON.stringify(written) ? undefined : timing.spreadMs;
  }

  return {
    tried,
    async write(conditions: readonly NodeCondition[]): Promise<void> {
      const now = performance.now();
      // After a restart, what the Node object says stays until the node knows better.
      const isEarly = written.length === 0 && now < graceUntil;
      if (isEarly && conditions.some(({ status }) => status === 'Unknown')) return;
      const spread = spreadOf(conditions);
      if (spread === undefined) due = undefined;
      else if (due === undefined || spread < due.spread) due = { spread, at: now + Math.random() * spread };
      if (now < Math.min(due?.at ?? Infinity, beatAt)) return;
      if (!(await tried(() => send(conditions, signal)))) return;
      written = conditions;
      due = undefined;
      beatAt = performance.now() + timing.heartbeatMs * (0.9 + Math.random() / 5);
    },
  };
}
