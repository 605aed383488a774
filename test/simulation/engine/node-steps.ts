import type { Trouble } from './faults.ts';
import type { Choices } from './play-steps.ts';

/** The state that steps about the node itself need, as opposed to the workload on it. */
interface NodePlay {
  readonly world: {
    readonly report: (event: string) => void;
    readonly troubles: { begin(trouble: Trouble, ms: number): void };
    readonly scheduler: { jump(ms: number): void };
  };
  readonly choose: Choices['choose'];
}

/** Makes the node short of one of these resources for some time. */
export const troubleAmong =
  (among: readonly Trouble[]) =>
  ({ world, choose }: NodePlay): Promise<void> => {
    const trouble = among[choose('trouble', among.length)] ?? 'no descriptors';
    const ms = [2_000, 30_000, 300_000][choose('length', 3)] ?? 2_000;
    world.report(`  for ${ms / 1_000} s: ${trouble}`);
    world.troubles.begin(trouble, ms);
    return Promise.resolve();
  };

export function jumpByHours({ world, choose }: NodePlay): Promise<void> {
  const hours = [1, -1, 90_000, -90_000][choose('jump', 4)] ?? 0;
  world.report(`  the clock jumps by ${hours} h`);
  world.scheduler.jump(hours * 3_600_000);
  return Promise.resolve();
}
