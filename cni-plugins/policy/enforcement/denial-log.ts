import type { Denial } from '../../types.ts';

/** Logs denials by pod and rule: soon when they begin, rarely while they go on. */
export interface DenialLog {
  report(denials: readonly Denial[], nowMs: number): void;
}

const everyMs = 30_000;
const linesAtOnce = 20;

export function createDenialLog(log: { warn(fields: object, message: string): void }): DenialLog {
  /** By pod, direction and rule: when it was last logged, and its packet count at that time. */
  let said = new Map<string, { readonly at: number; readonly packets: bigint }>();
  return {
    report(denials, nowMs) {
      const next: typeof said = new Map();
      let lines = 0;
      for (const denial of denials) {
        const key = `${denial.id} ${denial.direction} ${denial.rule}`;
        const last = said.get(key);
        // A recreated rule counts from zero.
        const before = last === undefined || last.packets > denial.packets ? 0n : last.packets;
        const due = last === undefined || nowMs - last.at >= everyMs;
        if (denial.packets === before || !due || lines >= linesAtOnce) {
          if (last !== undefined)
            next.set(key, last.packets > denial.packets ? { at: last.at, packets: 0n } : last);
          continue;
        }
        lines += 1;
        next.set(key, { at: nowMs, packets: denial.packets });
        const { pod, id, network, direction, rule } = denial;
        log.warn(
          {
            pod: pod.name,
            namespace: pod.namespace,
            sandbox: id,
            network,
            direction,
            rule,
            packets: Number(denial.packets - before),
          },
          'the network denied packets from or to a pod',
        );
      }
      said = next;
    },
  };
}
