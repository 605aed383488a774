import type { NetworkDatabase } from '../../../../cni-plugins/database/database.ts';
import { effect, servicesMachine } from '../machine.ts';
import { asStorageFailure } from '../network-database.ts';

/** Replaces `database/database.ts`: the network's database on the simulated disk. */
export function openNetworkDatabase(_path: string): NetworkDatabase {
  return servicesMachine().database.open((kind, name, body) =>
    effect(kind, name, (errno) => asStorageFailure(errno, 'write the network database'), body),
  );
}
