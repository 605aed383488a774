/** In an emulated machine (test/vm) everything takes several times as long. No test here measures speed. */
const factor = process.env['IN_VM'] === undefined ? 1 : 5;

/** Returns a time limit for waiting, in ms, adapted to this machine. */
export function patience(ms: number): number {
  return ms * factor;
}
