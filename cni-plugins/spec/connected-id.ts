import { createHash } from 'node:crypto';
import type { Stats } from 'node:fs';

/**
 * Returns the container id of a network namespace that a command connects and that belongs to no pod. The id
 * is derived from the kernel's number of the namespace, so it is the same for every path.
 */
export const connectedId = ({ dev, ino }: Pick<Stats, 'dev' | 'ino'>): string =>
  `ns-${createHash('sha256').update(`${dev}:${ino}`).digest('hex').slice(0, 16)}`;

export const isConnectedId = (containerId: string): boolean => /^ns-[0-9a-f]{16}$/u.test(containerId);
