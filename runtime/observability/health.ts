import { reasonOf } from '../../base/errors/index.ts';

/** One thing without which the daemon can not work. Rejects with the reason. */
export interface HealthCheck {
  readonly name: string;
  readonly check: () => Promise<unknown>;
}

export interface Health {
  readonly healthy: boolean;
  /** `ok`, or why not, by name. */
  readonly checks: Readonly<Record<string, string>>;
}

/** A check that takes longer has failed. */
const patienceMs = 2_000;
/** However often it is asked, the checks run at most once in this time. */
const freshMs = 1_000;

/**
 * Whether the daemon works, in the sense of a liveness probe: a restart could help. Network and policy are not part of it; Status
 * tells of them. That the main thread runs is shown by the answer itself, within the prober's time limit.
 */
export function createHealth(checks: readonly HealthCheck[]): () => Promise<Health> {
  let latest: { readonly at: number; readonly result: Promise<Health> } | undefined;
  return () => {
    if (latest === undefined || performance.now() - latest.at > freshMs) latest = { at: performance.now(), result: runAll(checks) };
    return latest.result;
  };
}

async function runAll(checks: readonly HealthCheck[]): Promise<Health> {
  const results = await Promise.all(checks.map(async ({ name, check }) => [name, await run(check)] as const));
  return { healthy: results.every(([, result]) => result === 'ok'), checks: Object.fromEntries(results) };
}

async function run(check: HealthCheck['check']): Promise<string> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string>((resolve) => (timer = setTimeout(() => resolve(`no answer within ${patienceMs} ms`), patienceMs)));
  try {
    return await Promise.race([late, check().then(() => 'ok')]);
  } catch (cause) {
    return reasonOf(cause);
  } finally {
    clearTimeout(timer);
  }
}
