/** In an emulated machine (test/vm) everything takes several times as long; nothing here is about speed. */
const factor = process.env['IN_VM'] === undefined ? 1 : 5;

/** A limit on waiting, in ms, for the machine that this is. */
export function patience(ms: number): number {
  return ms * factor;
}
