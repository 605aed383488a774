import type { PlayHistory } from './history.ts';

/** The subject of a history. */
export type Kind = 'pods' | 'images' | 'services' | 'attachments';
export const kinds: readonly Kind[] = ['pods', 'images', 'services', 'attachments'];

const players: Readonly<Record<Kind, () => Promise<PlayHistory>>> = {
  pods: async () => (await import('./pods-history.ts')).playPods,
  images: async () => (await import('./images/images-history.ts')).playImages,
  services: async () => (await import('./services/services-history.ts')).playServices,
  attachments: async () => (await import('./attachments/attachments-history.ts')).playAttachments,
};

/** Loads the player of histories of a kind, and with it the product: call `registerStandIns` before. */
export async function playerOf(kind: Kind): Promise<PlayHistory> {
  return players[kind]();
}
