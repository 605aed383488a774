import { createHash } from 'node:crypto';
import type { Stats } from 'node:fs';

/** The container id of a network namespace that a command connects and that is no pod's: of the kernel's number, by whichever path it is given. */
export const connectedId = ({ dev, ino }: Pick<Stats, 'dev' | 'ino'>): string =>
  `ns-${createHash('sha256').update(`${dev}:${ino}`).digest('hex').slice(0, 16)}`;

export const isConnectedId = (containerId: string): boolean => /^ns-[0-9a-f]{16}$/u.test(containerId);
