import type { Kind, PlayHistory } from './engine/history.ts';
import type { Watch } from './watch.ts';

const players: Readonly<Record<Kind, () => Promise<PlayHistory<Watch>>>> = {
  pods: async () => (await import('./pods/pods-history.ts')).playPods,
  images: async () => (await import('./images/images-history.ts')).playImages,
  services: async () => (await import('./services/services-history.ts')).playServices,
  attachments: async () => (await import('./attachments/attachments-history.ts')).playAttachments,
};

/** Loads the player of histories of a kind, and with it the product: call `registerStandIns` before. */
export async function playerOf(kind: Kind): Promise<PlayHistory<Watch>> {
  return players[kind]();
}
