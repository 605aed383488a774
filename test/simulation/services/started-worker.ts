import type { SimulatedPort } from '../engine/workers.ts';

/** The port of the Worker that was started last. */
export let parentPort: SimulatedPort | null = null;

/** Sets the port of the Worker that starts next. */
export function setPort(port: SimulatedPort): void {
  parentPort = port;
}
