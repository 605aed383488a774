import { floodAttacks } from './attack-connections.ts';
import { containerAttacks } from './attack-containers.ts';
import { messageAttacks } from './attack-messages.ts';
import { readerAttacks } from './attack-readers.ts';
import type { Attack, Scale } from './attack.ts';

export const wholeScale: Scale = {
  connections: 5_000,
  lineBytes: 2 ** 30,
  mounts: 10_000,
  processes: 1_000,
  slowReaders: 60,
};

export const attacks = (scale: Scale): readonly Attack[] => [
  ...containerAttacks(scale),
  ...readerAttacks(scale),
  ...floodAttacks(scale),
  ...messageAttacks(),
];
