import { isWide } from '../fixtures/width.ts';

/**
 * Returns the numbers of the messages at which a thread ends: in `npm test` every second one and the last, in
 * `npm run test:lost-threads` all of them.
 */
export function chosenSends(count: number): readonly number[] {
  const all = Array.from({ length: count }, (_, index) => index + 1);
  return isWide ? all : all.filter((nth) => (count - nth) % 2 === 0);
}
