import { setTimeout as pause } from 'node:timers/promises';
import { explainReason } from '../../trust/index.ts';
import type { Verdict } from '../../trust/index.ts';
import type { LinkState } from '../../cni-plugins/index.ts';
import { linkPolicyFor } from '../containers/link-class.ts';
import type { ContainerRecord } from '../containers/record.ts';
import type { ImageRecord } from '../images/types.ts';

/** Enough of a tree of reasons to see the cause. The verdict log has all of it. */
const mostReasons = 24;
const longestReason = 400;
/** In ms. The database and the network thread may wait for a disk that hangs, and crictl waits for 2 s. */
const patienceMs = 1_000;

/**
 * Additional entries of `info` in a verbose status, each JSON: the verdict and the profile in force
 * (docs/observability.md).
 */
export interface VerboseInfo {
  container(record: ContainerRecord): Promise<Entries>;
  /** The OCI configuration of a container. Undefined: it was never created, or the node was started since. */
  runtimeSpec(id: string): Promise<object | undefined>;
  /**
   * For the sandbox's containers, because a sandbox itself has no image. Also for its link: what was
   * requested from the kernel, and what the kernel has.
   */
  sandbox(id: string, containers: readonly ContainerRecord[]): Promise<Entries>;
  /** The verdict of the latest pull, and the ceilings that it sets. */
  image(record: ImageRecord): Promise<Entries>;
}

type Entries = Readonly<Record<string, string>>;

interface Deps extends Pick<VerboseInfo, 'runtimeSpec'> {
  readonly findVerdict: (id: string) => Promise<Verdict | undefined>;
  /** Read from the kernel. Undefined: the sandbox has no link of ours. */
  readonly linkState: (id: string) => Promise<LinkState | undefined>;
  /** Returns why a running container would not be admitted now. Undefined if it would be admitted. */
  readonly outOfPolicy: (containerId: string) => object | undefined;
  /** Reports whether a container runs without its monitor. */
  readonly isUnmonitored: (containerId: string) => boolean;
  /**
   * The revision of the policy in force. Undefined: there is none, and all new images and containers are
   * denied.
   */
  readonly policyRevision: () => string | undefined;
}

export function createVerboseInfo(parts: Deps): VerboseInfo {
  return {
    runtimeSpec: parts.runtimeSpec,
    container: async (record) => ({
      verdict: JSON.stringify({
        ...(await verdictOf(parts, record.verdictId)),
        ...(record.adjusted !== undefined && { adjustments: record.adjusted.adjustments }),
      }),
      profile: JSON.stringify(profileOf(record)),
      ...(parts.isUnmonitored(record.id) && { monitor: JSON.stringify('lost') }),
      ...(parts.outOfPolicy(record.id) !== undefined && {
        outOfPolicy: JSON.stringify(parts.outOfPolicy(record.id)),
      }),
    }),
    sandbox: async (id, containers) => {
      const verdictsOf = containers.map(async (record) => ({
        ...named(record),
        ...(await verdictOf(parts, record.verdictId)),
      }));
      const [held, verdicts] = await Promise.all([inTime(parts.linkState(id)), Promise.all(verdictsOf)]);
      const link = held === 'late' ? { why: noAnswerOf('the network thread') } : { held };
      return {
        verdicts: JSON.stringify(verdicts),
        profiles: JSON.stringify(containers.map((record) => ({ ...named(record), ...profileOf(record) }))),
        ...(held !== undefined && { link: JSON.stringify({ told: linkPolicyFor(containers), ...link }) }),
      };
    },
    image: async ({ verdictId }) => {
      const found = await inTime(parts.findVerdict(verdictId));
      const verdict = JSON.stringify(shown(found, verdictId, parts.policyRevision()));
      if (found === 'late') return { verdict };
      const ceilings = (found?.ceilings ?? []).map(({ ceiling, rule }) => ({ name: ceiling, rule }));
      return { verdict, profile: JSON.stringify({ ceilings }) };
    },
  };
}

async function verdictOf(parts: Deps, id: string): Promise<object> {
  return shown(await inTime(parts.findVerdict(id)), id, parts.policyRevision());
}

function inTime<T>(answer: Promise<T>): Promise<T | 'late'> {
  return Promise.race([answer, pause(patienceMs, 'late' as const, { ref: false })]);
}

const noAnswerOf = (who: string): string => `${who} did not answer within ${patienceMs} ms`;

/**
 * Returns a verdict for people and scripts. `policyInForce` shows whether the same policy would decide on a
 * new container.
 */
function shown(
  verdict: Verdict | 'late' | undefined,
  id: string,
  revisionInForce: string | undefined,
): object {
  if (verdict === undefined) return { id, outcome: 'unknown' };
  if (verdict === 'late') return { id, outcome: 'unknown', why: noAnswerOf('the database') };
  const {
    outcome,
    reference,
    digest,
    manifestDigest,
    namespace,
    policyRevision,
    decidedAt,
    validUntil,
    unverified,
    reasons,
  } = verdict;
  return {
    id,
    outcome,
    unverified,
    reference,
    digest,
    manifestDigest,
    namespace,
    policyRevision,
    policyInForce: policyRevision === revisionInForce,
    decidedAt,
    ...(validUntil !== undefined && { validUntil }),
    reasons: explainReason(reasons)
      .trimEnd()
      .split('\n')
      .slice(0, mostReasons)
      .map((line) => line.slice(0, longestReason)),
  };
}

/** Returns what was set in the kernel. A record of an older version has fewer fields. */
function profileOf({ held, settingsDigest, networkClass, noNewPrivileges }: ContainerRecord): object {
  return held ?? { digest: settingsDigest, networkClass, noNewPrivileges };
}

function named({ id, config }: ContainerRecord): object {
  return { container: config.metadata?.name ?? '', containerId: id };
}
