import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { found } from '../findings/finding-codes.ts';
import type { Found } from '../findings/finding-codes.ts';

export const enforcementResults = ['pass', 'fail', 'could not tell'] as const;
export type EnforcementResult = (typeof enforcementResults)[number];

/** The result of the enforcement check on this node. Plain JSON. */
export interface EnforcementState {
  readonly result: EnforcementResult;
  /** ISO 8601: when the node was last inspected. */
  readonly checkedAt?: string;
  /** ISO 8601: when a test of the planted pair last ran to its end. Absent if none has. */
  readonly triedAt?: string;
  /** ISO 8601: since when the result has its current value. */
  readonly since: string;
  readonly findings: readonly Found[];
}

export interface Enforcement {
  state(): EnforcementState;
  /**
   * Tests the pair and inspects the node now. A request during a running check starts one more check
   * afterwards.
   */
  request(): void;
  /** Ends the running check. No check starts afterwards. */
  close(): Promise<void>;
}

interface Deps {
  /** Undefined: no pair is planted. */
  readonly tryPair?: (signal: AbortSignal) => Promise<readonly Found[]>;
  /** Inspects the node. Cheap, and does not use the network. */
  readonly look: () => Promise<readonly Found[]>;
  /** Codes that the operator has accepted. */
  readonly accept: readonly string[];
  readonly intervalMs: number;
  /** The time between two inspections. */
  readonly lookMs?: number;
  /** The deadline of one test of the pair. */
  readonly deadlineMs?: number;
  /** Called when the result or the findings change. */
  readonly onChange: (state: EnforcementState) => void;
  readonly log: Logger;
  readonly now?: () => Date;
}

/** Well below the 60 s within which each finding must be reported. */
const defaultLookMs = 15_000;
const defaultDeadlineMs = 30_000;
/** An undecided test is repeated sooner than after the interval. */
const retryMs = 60_000;

/**
 * Tests the pair and inspects the node, at each request and periodically. Only one test runs at a time, and
 * each has a deadline.
 */
export function openEnforcement(parts: Deps): Enforcement {
  const {
    intervalMs,
    lookMs = defaultLookMs,
    deadlineMs = defaultDeadlineMs,
    log,
    now = () => new Date(),
  } = parts;
  const opened = performance.now();
  let pair: readonly Found[] = [];
  let node: readonly Found[] = [];
  let triedAt: string | undefined;
  let triedClock: number | undefined;
  let nextTry = 0;
  let wanted = false;
  let running: Promise<void> | undefined;
  let looking: Promise<void> | undefined;
  let reported = '';
  let current: EnforcementState = { result: 'could not tell', since: now().toISOString(), findings: [] };
  const stop = new AbortController();

  const settle = (checked: boolean): void => {
    const findings = [...tryFindings(), ...node].map((one): Found =>
      parts.accept.includes(one.code) ? { ...one, accepted: true } : one,
    );
    const result = resultOf(findings);
    const at = now().toISOString();
    const checkedAt = checked ? at : current.checkedAt;
    current = {
      result,
      since: result === current.result ? current.since : at,
      findings,
      ...(checkedAt !== undefined && { checkedAt }),
      ...(triedAt !== undefined && { triedAt }),
    };
    const text = JSON.stringify([result, findings.map(({ code, on, accepted }) => [code, on, accepted])]);
    // Before both checks have run once, a result would rest on half of the facts.
    if (
      text === reported ||
      current.checkedAt === undefined ||
      (parts.tryPair !== undefined && triedAt === undefined)
    )
      return;
    reported = text;
    parts.onChange(current);
  };

  function tryFindings(): readonly Found[] {
    if (parts.tryPair === undefined) return [];
    const overdue = performance.now() - (triedClock ?? opened) > 2 * intervalMs + deadlineMs;
    return triedAt === undefined || overdue ? [...pair, found('NOT_TRIED', 'enforcement', triedAt)] : pair;
  }

  async function once(): Promise<void> {
    const { tryPair } = parts;
    if (tryPair === undefined) return;
    try {
      pair = await tryPair(AbortSignal.any([stop.signal, AbortSignal.timeout(deadlineMs)]));
    } catch (thrown) {
      pair = [found('PLANTED_NOT_DECIDED', 'enforcement', reasonOf(thrown))];
    }
    if (stop.signal.aborted) return;
    triedAt = now().toISOString();
    triedClock = performance.now();
    nextTry =
      triedClock +
      (pair.some(({ code }) => code === 'PLANTED_NOT_DECIDED') ? Math.min(retryMs, intervalMs) : intervalMs);
    settle(false);
  }

  async function lookAgain(): Promise<void> {
    try {
      node = await parts.look();
    } catch (thrown) {
      log.error({ cause: reasonOf(thrown) }, 'the node could not be inspected for enforcement');
      return;
    }
    if (!stop.signal.aborted) settle(true);
  }
  function look(): void {
    if (stop.signal.aborted || looking !== undefined) return;
    looking = lookAgain().finally(() => (looking = undefined));
  }
  function go(): void {
    if (stop.signal.aborted || running !== undefined) return;
    wanted = false;
    running = once().finally(() => {
      running = undefined;
      if (wanted) go();
    });
  }
  const ticking = setInterval(() => {
    look();
    if (performance.now() >= nextTry) go();
  }, lookMs);
  ticking.unref();

  return {
    state: () => current,
    request() {
      wanted = true;
      go();
      look();
    },
    async close() {
      clearInterval(ticking);
      stop.abort(new Error('the daemon is stopping'));
      await Promise.all([running, looking]);
    },
  };
}

/** Returns the overall result. A failure outweighs a finding whose result is unknown. */
export function resultOf(findings: readonly Found[]): EnforcementResult {
  const counted = findings.filter(({ accepted }) => accepted !== true);
  if (counted.some(({ effect }) => effect === 'fail')) return 'fail';
  return counted.some(({ effect }) => effect === 'unknown') ? 'could not tell' : 'pass';
}
