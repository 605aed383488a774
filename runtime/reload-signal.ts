import type { Undo } from './undo.ts';

/**
 * Keeps a SIGHUP that arrives while the daemon starts, for example from logrotate: without a listener, the
 * signal would end the process. Returns the function that serves the signal from then on, and first an early
 * one; it returns the function that ends this.
 */
export function holdReloads(undo: Undo): (reload: () => void) => () => void {
  let isAsked = false;
  const early = (): void => {
    isAsked = true;
  };
  const stopHolding = (): void => void process.off('SIGHUP', early);
  process.on('SIGHUP', early);
  undo.push(() => Promise.resolve(stopHolding()));
  return (reload) => {
    process.on('SIGHUP', reload);
    stopHolding();
    if (isAsked) reload();
    return () => void process.off('SIGHUP', reload);
  };
}
