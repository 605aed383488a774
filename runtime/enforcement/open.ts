import type { Logger } from '../../base/log/index.ts';
import type { Database } from '../../base/storage/index.ts';
import { parseReference, ruleFor } from '../../base/distribution/index.ts';
import { ownPolicyPaths } from '../config/policy-paths.ts';
import { registryRulesOf } from '../config/registry-rules.ts';
import type { DaemonConfig } from '../config/types.ts';
import type { ContainerRecord } from '../containers/record.ts';
import type { EventHub } from '../events/hub.ts';
import { enforcementReasons } from '../events/policy-events.ts';
import type { ImageStore } from '../images/types.ts';
import type { SandboxRecord } from '../pods/record.ts';
import type { PolicyHolder } from '../policy/policy-watch.ts';
import type { Redecision } from '../redecision/redecision.ts';
import { createClockWatch } from '../findings/clock.ts';
import { openEnforcement } from './enforcement.ts';
import type { Enforcement } from './enforcement.ts';
import { nodeFindings } from './node-findings.ts';
import { tryPair } from './planted.ts';
import { policyFindings } from '../findings/policy-findings.ts';
import { newestFile, readClock, readNode } from './read-node.ts';
import { createSeenLog } from './seen.ts';

interface Deps {
  readonly database: Pick<Database, 'all'>;
  readonly policy: Pick<PolicyHolder, 'current' | 'problem' | 'onChange'>;
  readonly store: Pick<ImageStore, 'tryPull' | 'list'>;
  readonly containerRecords: { list(): readonly ContainerRecord[] };
  readonly sandboxRecords: { list(): readonly SandboxRecord[] };
  readonly redecision: Pick<Redecision, 'counts' | 'images'>;
  readonly events: Pick<EventHub, 'reportEnforcement'>;
  readonly log: Logger;
}

/** Creates the enforcement check for the daemon. It does not start before the first request. */
export function startEnforcement(config: DaemonConfig, parts: Deps): Enforcement {
  const { policy, store: images, redecision } = parts;
  const log = parts.log.child({ component: 'enforcement' });
  const { admitted, refused, namespace, interval, accept } = config.enforcement;
  const planted = admitted !== '' && refused !== '' ? { admitted, refused, namespace } : undefined;
  const clock = createClockWatch();
  const seenLog = createSeenLog(parts.database, () => ({
    references: [
      ...(planted === undefined ? [] : [admitted, refused]),
      ...images.list().flatMap(({ repoTags, repoDigests }) => [...repoTags, ...repoDigests]),
      ...parts.containerRecords.list().flatMap(({ config: { image } }) => image?.userSpecifiedImage ?? []),
    ],
    namespaces: [
      namespace,
      ...parts.sandboxRecords.list().map((record) => record.config.metadata?.namespace ?? ''),
    ],
  }));
  const enforcement = openEnforcement({
    ...(planted !== undefined && {
      tryPair: (signal: AbortSignal) =>
        tryPair(planted, { images, onlyMirror: (reference) => onlyMirror(config, reference) }, signal),
    }),
    look: async () => {
      const current = policy.current();
      const [seen, disk, reading, written] = await Promise.all([
        seenLog.read(current),
        readNode(config),
        readClock(),
        newestFile(ownPolicyPaths(config)),
      ]);
      const outOfPolicy = { containers: redecision.counts(), images: redecision.images() };
      const recorded = Math.max(written, Date.parse(seenLog.newest()) || 0);
      return [
        ...nodeFindings(config, { ...disk, policy: current, problem: policy.problem(), outOfPolicy }),
        ...(current === undefined ? [] : policyFindings(current, seen, new Date())),
        ...clock(reading, recorded),
      ];
    },
    accept,
    intervalMs: interval * 1000,
    onChange: (state) => {
      const codes = [
        ...new Set(state.findings.filter(({ accepted }) => accepted !== true).map(({ code }) => code)),
      ];
      const facts = { result: state.result, codes };
      if (state.result === 'fail') log.error({ ...facts, findings: state.findings }, 'enforcement: fail');
      else log.info(facts, `enforcement: ${state.result}`);
      parts.events.reportEnforcement({ reason: enforcementReasons[state.result], message: codes.join(' ') });
    },
    log,
  });
  const unsubscribe = policy.onChange(() => enforcement.request());
  return {
    ...enforcement,
    async close() {
      unsubscribe();
      await enforcement.close();
    },
  };
}

/** Returns the URL of the first mirror, if only mirrors are contacted for this reference. */
function onlyMirror({ registries }: Pick<DaemonConfig, 'registries'>, reference: string): string | undefined {
  const rule = ruleFor(registryRulesOf(registries), parseReference(reference))?.rule;
  return rule === undefined || rule.origin ? undefined : rule.mirrors[0]?.url;
}
