import { reasonOf } from '../../base/errors/index.ts';

/** A component without which the daemon cannot work. Rejects with the reason. */
export interface HealthCheck {
  readonly name: string;
  readonly check: () => Promise<unknown>;
}

export interface Health {
  readonly healthy: boolean;
  /** `ok`, or the reason for the failure, by name. */
  readonly checks: Readonly<Record<string, string>>;
}

/** A check that takes longer has failed. */
const patienceMs = 2_000;
/** The checks run at most once in this time, however often health is requested. */
const freshMs = 1_000;

/**
 * Reports whether the daemon works, in the sense of a liveness probe: whether a restart could help. Network
 * and policy are not included; Status reports them. The answer itself, within the prober's time limit, shows
 * that the main thread runs.
 */
export function createHealth(checks: readonly HealthCheck[]): () => Promise<Health> {
  let latest: { readonly at: number; readonly result: Promise<Health> } | undefined;
  return () => {
    if (latest === undefined || performance.now() - latest.at > freshMs)
      latest = { at: performance.now(), result: runAll(checks) };
    return latest.result;
  };
}

async function runAll(checks: readonly HealthCheck[]): Promise<Health> {
  const results = await Promise.all(checks.map(async ({ name, check }) => [name, await run(check)] as const));
  return { healthy: results.every(([, result]) => result === 'ok'), checks: Object.fromEntries(results) };
}

async function run(check: HealthCheck['check']): Promise<string> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string>(
    (resolve) => (timer = setTimeout(() => resolve(`it did not answer within ${patienceMs} ms`), patienceMs)),
  );
  try {
    return await Promise.race([late, check().then(() => 'ok')]);
  } catch (cause) {
    return reasonOf(cause);
  } finally {
    clearTimeout(timer);
  }
}
