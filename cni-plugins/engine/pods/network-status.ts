import { reasonWord } from '../../cni/index.ts';
import type { LoadedNetworks } from '../../spec/conf-folder.ts';
import type { NetworkStatus } from '../../types.ts';

/** Converts the state of the conf folder to the CRI condition NetworkReady. */
export function statusOf(current: () => LoadedNetworks): NetworkStatus {
  try {
    const { networks, skipped } = current();
    const passedOver = skipped.length === 0 ? '' : `; skipped: ${skipped.join('; ')}`;
    const named = networks.map(({ name, file }) => `network ${name} of ${file}`).join(', ');
    return {
      ready: true,
      reason: 'NetworkReady',
      message: `${named}${passedOver}`,
      networks: networks.map(({ name }) => name),
    };
  } catch (thrown) {
    return notReady(thrown);
  }
}

export function notReady(thrown: unknown): NetworkStatus {
  return {
    ready: false,
    reason: reasonWord(thrown),
    message: thrown instanceof Error ? thrown.message : String(thrown),
    networks: [],
  };
}
