import { PortcullisError, reasonOf } from '../../../base/errors/index.ts';
import type { Dossier, TrustPolicy, Verdict } from '../../types.ts';
import { decide } from '../decide.ts';
import { prepareDecision } from '../prepare.ts';
import { verdictBytes } from './texts.ts';

/** Everything a verdict depends on, as texts: what `verdicts export ID` writes. */
export interface ReplayInput {
  /** The row's, beside the texts. */
  readonly id: string;
  readonly decidedAt: string;
  readonly verdict: string;
  readonly dossier: string;
  readonly policy: string;
}

export interface Replay {
  /** The bytes of the verdict given now are those recorded. */
  readonly equal: boolean;
  readonly recorded: Verdict;
  readonly replayed: Verdict;
  readonly recordedBytes: string;
  readonly replayedBytes: string;
}

/**
 * Decides again, from what is stored alone: no network, no clock, no file.
 * @throws PortcullisError `TRUST_REPLAY_UNREADABLE` when a text is not what it should be
 */
export async function replayVerdict(input: ReplayInput): Promise<Replay> {
  try {
    const recorded: Verdict = {
      ...(parse(input.verdict, 'verdict') as Omit<Verdict, 'id' | 'decidedAt'>),
      decidedAt: input.decidedAt,
      id: input.id,
    };
    const dossier = parse(input.dossier, 'dossier') as Dossier;
    const policy = parse(input.policy, 'policy') as TrustPolicy;
    await prepareDecision(policy);
    const { reference, namespace, platform } = recorded;
    const replayed = decide({ dossier, reference, namespace, platform, policy, now: new Date(input.decidedAt) });
    const [recordedBytes, replayedBytes] = [verdictBytes(recorded), verdictBytes(replayed)];
    return { equal: recordedBytes === replayedBytes, recorded, replayed, recordedBytes, replayedBytes };
  } catch (error) {
    throw new PortcullisError({
      code: 'TRUST_REPLAY_UNREADABLE',
      kind: 'data-loss',
      attempted: 'replay verdict',
      on: input.id,
      why: `what was recorded can not be decided again: ${reasonOf(error)}`,
      fix: 'check the log: portcullis verdicts verify',
      cause: error,
    });
  }
}

function parse(text: string, what: string): object {
  const value: unknown = JSON.parse(text);
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw new Error(`its ${what} is not a JSON object`);
  return value;
}
