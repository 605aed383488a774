import type { Logger } from '../../base/log/index.ts';
import type { DaemonConfig } from '../config/types.ts';
import type { CallObserver } from '../cri/observe.ts';
import { openAudit } from './audit/audit.ts';
import type { DaemonFacts, RuntimeObserver } from './facts.ts';
import { createHealth } from './health.ts';
import type { HealthCheck } from './health.ts';
import { openQuietCollection } from './idle-collection.ts';

export interface Observability {
  /** For the CRI server; the first is the outermost. */
  readonly calls: readonly CallObserver[];
  /** Undefined when no component counts events. */
  readonly runtime: RuntimeObserver | undefined;
  /**
   * Called at the end of the start. Serves `/metrics` and `/healthz` if an address is configured.
   * @param hasPods the node has records of pods
   * @throws PortcullisError RUNTIME_METRICS_LISTEN
   */
  listen(hasPods: boolean): Promise<void>;
  /** Called at SIGHUP: the audit log may have been rotated. */
  reopen(): void;
  close(): Promise<void>;
}

/** Opens the configured components. A component that is not configured is not even loaded. */
export async function openObservability(parts: {
  readonly config: Pick<DaemonConfig, 'metrics' | 'tracing' | 'audit'>;
  readonly log: Logger;
  /** Used from {@link Observability.listen} on. */
  readonly facts: Omit<DaemonFacts, 'auditFailures'>;
  readonly checks: readonly HealthCheck[];
  /** Ends Workers without work. Called when the daemon is quiet after its start. */
  readonly rest: () => void;
  /**
   * Ends Workers without work that a pull does not need. Called when a pull begins.
   * @param isFirst the daemon was not quiet between its start and this pull
   */
  readonly restForPull: (isFirst: boolean) => void;
}): Promise<Observability> {
  const { config, log, facts, rest, restForPull } = parts;
  const { metrics: http, tracing: traces, audit: auditing } = config;
  const audit =
    auditing.path === '' ? undefined : openAudit({ ...auditing, log: log.child({ component: 'audit' }) });
  const tracing =
    traces.endpoint === ''
      ? undefined
      : (await import('../tracing/tracing.ts')).openTracing({ ...traces, version: facts.version });
  const metrics =
    http.address === ''
      ? undefined
      : (await import('./metrics.ts')).openMetrics({ ...facts, auditFailures: () => audit?.failures() ?? 0 });
  const collection = openQuietCollection(log, { rest, restForPull });
  let listener: { close(): Promise<void> } | undefined;
  return {
    calls: [tracing?.calls, metrics?.calls, audit?.calls, collection.calls].filter(
      (observer) => observer !== undefined,
    ),
    runtime: metrics?.runtime,
    listen: async (hasPods) => {
      collection.atStart(hasPods);
      if (metrics === undefined) return;
      const { listenHttp } = await import('./http.ts');
      listener = await listenHttp(http.address, { metrics, health: createHealth(parts.checks) });
      log.info({ address: http.address }, 'serving /metrics and /healthz');
    },
    reopen: () => audit?.reopen(),
    close: async () => {
      collection.close();
      await listener?.close();
      metrics?.close();
      await Promise.all([tracing?.close(), audit?.close()]);
    },
  };
}
