/**
 * Preloaded into the daemon by event-loop.ts: measures its main thread, and writes the figures (ms) on
 * SIGUSR2.
 */
import { writeFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { isMainThread } from 'node:worker_threads';

const file = process.env['PORTCULLIS_PROBE_FILE'];
if (isMainThread && file !== undefined) {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  process.on('SIGUSR2', () => {
    const figure = (share: number): number => delay.percentile(share) / 1e6;
    writeFileSync(
      file,
      JSON.stringify({
        p50: figure(50),
        p99: figure(99),
        p999: figure(99.9),
        max: delay.max / 1e6,
        samples: delay.count,
      }),
    );
    delay.reset();
  });
}
