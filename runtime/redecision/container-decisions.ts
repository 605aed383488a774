import { reasonOf } from '../../base/errors/index.ts';
import { append } from '../../base/lists/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { explainReason } from '../../trust/index.ts';
import type { TrustPolicy, Verdict } from '../../trust/index.ts';
import type { ContainerRecord } from '../containers/record.ts';
import { isImageVolume } from '../containers/mount-sources.ts';
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

/** The number of containers that one rule refuses in one namespace. */
export interface OutOfPolicyCount {
  readonly namespace: string;
  readonly rule: string;
  readonly count: number;
}

/** The latest decisions about running containers. */
export interface ContainerDecisions {
  /** Undefined: in policy, or not decided yet. */
  of(id: string): OutOfPolicy | undefined;
  counts(): readonly OutOfPolicyCount[];
  /**
   * Decides again about a container, and reports a change.
   * @returns false when the container runs no more: its decision is forgotten
   */
  decide(id: string): Promise<boolean>;
  forget(id: string): void;
  /** The times (ISO 8601) at which decisions may change by time alone, by container. */
  readonly ends: ReadonlyMap<string, string>;
}

/** Dependencies of decisions about containers. */
export interface ContainerDecisionsDeps {
  readonly policy: { current(): TrustPolicy | undefined };
  readonly images: Pick<ImageStore, 'judge'>;
  readonly containers: Pick<WatchedRecords<ContainerRecord>, 'get'>;
  readonly sandbox: (id: string) => SandboxRecord | undefined;
  /** From the configuration: only report, or stop the container as well. */
  readonly act: 'report' | 'stop';
  readonly stop: (containerId: string, timeoutSeconds: number) => Promise<void>;
  /** Called on each change; `found` is undefined when a container is in policy again. */
  readonly onChange: (container: ContainerRecord, found: OutOfPolicy | undefined) => void;
  readonly log: Logger;
  readonly now: () => Date;
}

/** The default that Kubernetes gives a pod (terminationGracePeriodSeconds). */
const graceSeconds = 30;
const mostReasons = 24;

const alive = new Set<ContainerRecord['phase']>(['created', 'starting', 'running']);

/** Whether the container runs, or is about to. */
export function isAlive({ phase }: Pick<ContainerRecord, 'phase'>): boolean {
  return alive.has(phase);
}

export function createContainerDecisions(deps: ContainerDecisionsDeps): ContainerDecisions {
  const { policy, images, containers, log, now } = deps;
  const found = new Map<string, OutOfPolicy>();
  const ends = new Map<string, string>();

  function forget(id: string): void {
    found.delete(id);
    ends.delete(id);
  }

  async function decide(id: string): Promise<boolean> {
    const record = containers.get(id);
    if (record === undefined || !isAlive(record)) {
      forget(id);
      return false;
    }
    const namespace = namespaceOf(record);
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
    if (current === undefined || !isAlive(current)) {
      forget(id);
      return false;
    }
    const end = earliestEnd(verdicts, now());
    if (end === undefined) ends.delete(id);
    else ends.set(id, end);
    const since = found.get(id)?.since ?? now().toISOString();
    settle(current, namespace, outOfPolicy(verdicts, unknown, since, policy.current()?.revision ?? ''));
    return true;
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
        log.warn(
          { ...facts, rule, reference, outcome, verdict, policyRevision, act: deps.act },
          'a running container is out of policy',
        );
      }
      deps.onChange(record, next);
    }
    // An undecided verdict denies a new container, but a running container is not ended because a source
    // could not be reached.
    if (deps.act !== 'stop' || next?.outcome !== 'deny') return;
    deps.stop(record.id, graceSeconds).then(
      () =>
        log.warn(
          { container: record.id, namespace, rule: next.rule, verdict: next.verdict },
          'a container was stopped because it is out of policy',
        ),
      (error: unknown) =>
        log.error(
          { container: record.id, cause: reasonOf(error) },
          'a container that is out of policy could not be stopped',
        ),
    );
  }

  function namespaceOf(record: ContainerRecord | undefined): string {
    return deps.sandbox(record?.sandboxId ?? '')?.config.metadata?.namespace ?? '';
  }

  return {
    of: (id) => found.get(id),
    counts: () => countsOf(found, (id) => namespaceOf(containers.get(id))),
    decide,
    forget,
    ends,
  };
}

/**
 * Returns what the verdicts on a container's images mean for it; undefined: it is in policy.
 * @param unknown an image on which there is no verdict
 */
function outOfPolicy(
  verdicts: readonly Verdict[],
  unknown: string | undefined,
  since: string,
  policyRevision: string,
): OutOfPolicy | undefined {
  const refused = verdicts.find(({ outcome }) => outcome !== 'admit');
  if (refused !== undefined)
    return {
      since,
      outcome: refused.outcome === 'undecided' ? 'undecided' : 'deny',
      rule: refusingRule(refused.reasons) ?? '',
      reference: refused.reference,
      verdict: refused.id,
      policyRevision: refused.policyRevision,
      reasons: explainReason(refused.reasons).trimEnd().split('\n').slice(0, mostReasons),
    };
  if (unknown === undefined) return undefined;
  return {
    since,
    outcome: 'undecided',
    rule: '',
    reference: unknown,
    verdict: '',
    policyRevision,
    reasons: [
      `${unknown}: neither the image nor a verdict on it is recorded any more, so no decision is possible`,
    ],
  };
}

/** Returns the container's own image, that of its checkpoint, and the images of its image volumes. */
export function imagesOf(record: ContainerRecord): readonly Omit<JudgedImage, 'namespace'>[] {
  const userSpecified = record.config.image?.userSpecifiedImage ?? '';
  const { imageId, verdictId, restoredFrom } = record;
  // The request of a restored container names the image of its checkpoint.
  const own =
    restoredFrom === undefined
      ? [{ imageId, verdictId, userSpecified }]
      : [
          { imageId, verdictId, userSpecified: '' },
          { imageId: restoredFrom.imageId, verdictId: restoredFrom.verdictId, userSpecified },
        ];
  // By now, the name in the request may mean another image.
  const { volumeImages, volumeVerdicts } = record;
  const volumes = record.config.mounts.filter(isImageVolume).map(({ containerPath, image }) => ({
    imageId: volumeImages?.[containerPath] ?? image?.image ?? '',
    verdictId: volumeVerdicts?.[containerPath] ?? '',
    userSpecified: image?.userSpecifiedImage ?? '',
  }));
  return [...own, ...volumes];
}

function countsOf(
  found: ReadonlyMap<string, OutOfPolicy>,
  namespaceOf: (id: string) => string,
): readonly OutOfPolicyCount[] {
  const counts = new Map<string, OutOfPolicyCount>();
  for (const [id, { rule }] of found) {
    const namespace = namespaceOf(id);
    const key = JSON.stringify([namespace, rule]);
    const one = counts.get(key) ?? { namespace, rule, count: 0 };
    counts.set(key, { ...one, count: one.count + 1 });
  }
  return [...counts.values()];
}
