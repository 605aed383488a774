import { mostEntries, mostStateLength } from '../../fleet/index.ts';
import type { FleetContainer, NodeState, UpcomingPolicy } from '../../fleet/index.ts';
import type { TrustPolicy } from '../../trust/index.ts';
import type { ContainerRecord } from '../containers/record.ts';
import type { EnforcementState } from '../enforcement/enforcement.ts';
import { policyRoots } from '../findings/policy-roots.ts';
import type { SandboxRecord } from '../pods/record.ts';
import type { ReleasePreview } from '../policy-delivery/preview.ts';
import type { Redecision } from '../redecision/redecision.ts';

/** The parts of the daemon from which the state of a node is computed. */
export interface NodeStateDeps {
  readonly version: string;
  readonly policy: { current(): TrustPolicy | undefined; problem(): string | undefined };
  /** The workloads that a newer release of the subscribed policy would refuse on this node. */
  readonly upcoming: () => ReleasePreview | undefined;
  readonly enforcement: { state(): EnforcementState };
  readonly redecision: Pick<Redecision, 'of'>;
  readonly containers: { list(): readonly ContainerRecord[] };
  readonly sandbox: (id: string) => SandboxRecord | undefined;
  readonly networkReady: () => Promise<boolean>;
}

const mostText = 2048;
/** The maximum number of refused workloads in a state, which is the part that grows most with the policy. */
const mostUpcoming = 100;
const clipped = (text: string): string => (text.length > mostText ? `${text.slice(0, mostText)}…` : text);

/**
 * Returns the state of this node for an aggregator. Lists are shortened to their limit, and further until the
 * state fits.
 */
export async function nodeState(deps: NodeStateDeps): Promise<NodeState> {
  for (let most = mostEntries; ; most = Math.floor(most / 2)) {
    const state = await stateWith(deps, most);
    if (most === 0 || JSON.stringify(state).length <= mostStateLength) return state;
  }
}

/** @param most the maximum number of entries of each list */
async function stateWith(deps: NodeStateDeps, most: number): Promise<NodeState> {
  const { version, policy, enforcement, redecision, containers, sandbox, networkReady } = deps;
  const upcoming = deps.upcoming();
  let omitted = 0;
  const cut = <Entry>(entries: readonly Entry[]): readonly Entry[] => {
    omitted += Math.max(0, entries.length - most);
    return entries.slice(0, most);
  };
  const named = (record: ContainerRecord): FleetContainer => {
    const metadata = sandbox(record.sandboxId)?.config.metadata;
    return {
      id: record.id,
      namespace: clipped(metadata?.namespace ?? ''),
      pod: clipped(metadata?.name ?? ''),
      name: clipped(record.config.metadata?.name ?? ''),
    };
  };
  const current = policy.current();
  const problem = policy.problem();
  const { result, since, checkedAt, triedAt, findings } = enforcement.state();
  const running = containers.list().filter(({ phase }) => phase === 'running');
  const roots = new Map(
    (current === undefined ? [] : policyRoots(current)).map((root) => [JSON.stringify(root), root]),
  );
  const state = {
    version,
    policy: {
      ...(current !== undefined && { revision: current.revision }),
      ...(problem !== undefined && { problem: clipped(problem) }),
    },
    enforcement: {
      result,
      since,
      ...(checkedAt !== undefined && { checkedAt }),
      ...(triedAt !== undefined && { triedAt }),
      findings: cut(
        findings
          .filter(({ accepted }) => accepted !== true)
          .map(({ code, effect, on }) => ({ code, effect, on: clipped(on) })),
      ),
    },
    networkReady: await networkReady().catch(() => false),
    outOfPolicy: cut(
      running.flatMap((record) => {
        const found = redecision.of(record.id);
        if (found === undefined) return [];
        const { reference, rule, outcome, since: from, verdict } = found;
        return [
          {
            ...named(record),
            reference: clipped(reference),
            rule: clipped(rule),
            outcome,
            since: from,
            verdict,
          },
        ];
      }),
    ),
    degraded: cut(
      running
        .filter(({ degraded = [] }) => degraded.length > 0)
        .map((record) => ({ ...named(record), reasons: (record.degraded ?? []).slice(0, 64).map(clipped) })),
    ),
    roots: cut(
      [...roots.values()].map((root) => ({ ...root, name: clipped(root.name), rule: clipped(root.rule) })),
    ),
    running: cut(
      running.map((record) => ({
        ...named(record),
        reference: clipped(record.config.image?.userSpecifiedImage || record.imageRef),
        imageId: record.imageId,
        verdict: record.verdictId,
      })),
    ),
  };
  return {
    ...state,
    ...(upcoming !== undefined && { upcoming: clippedPreview(upcoming, Math.min(most, mostUpcoming)) }),
    omitted,
  };
}

function clippedPreview(
  { release, revision, denials, count, problem }: ReleasePreview,
  most: number,
): UpcomingPolicy {
  return {
    release,
    ...(revision !== undefined && { revision }),
    denials: denials.slice(0, most).map(({ namespace, reference, outcome, rule }) => ({
      namespace: clipped(namespace),
      reference: clipped(reference),
      outcome,
      rule: clipped(rule),
    })),
    count,
    ...(problem !== undefined && { problem: clipped(problem) }),
  };
}
