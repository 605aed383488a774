import type { PlayHistory } from './history.ts';

/** What a history is about. */
export type Kind = 'pods' | 'images';
export const kinds: readonly Kind[] = ['pods', 'images'];

/** Loads what plays histories of a kind, and with it the product: {@link registerStandIns} comes before. */
export async function playerOf(kind: Kind): Promise<PlayHistory> {
  return kind === 'pods' ? (await import('./pods-history.ts')).playPods : (await import('./images/images-history.ts')).playImages;
}
