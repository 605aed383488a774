import { exitCodes } from './exit-codes.ts';

const signals = ['SIGTERM', 'SIGINT'] as const;

/**
 * Waits for the end that a service manager or a user asks for: SIGTERM or SIGINT. A second signal ends the
 * process at once, as failed.
 * @param onStop called at the first signal, before the promise resolves
 */
export function untilStopSignal(onStop?: () => void): Promise<void> {
  return new Promise((resolve) => {
    const first = (): void => {
      for (const signal of signals) {
        process.removeListener(signal, first);
        process.once(signal, () => process.exit(exitCodes.failed));
      }
      onStop?.();
      resolve();
    };
    for (const signal of signals) process.once(signal, first);
  });
}
