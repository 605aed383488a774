import type { Dialect } from '../tuf-metadata/model.ts';
import type { Expiry } from './issue.ts';

const day = 86_400;

/**
 * In seconds. Notary's values are the defaults of its own clients (notary 0.7: root ten years, targets and
 * snapshot three years, timestamp fourteen days).
 */
export const defaultExpiry: Readonly<Record<Dialect, Expiry>> = {
  tuf: { root: 365 * day, targets: 365 * day, snapshot: 30 * day, timestamp: 14 * day },
  notary: { root: 3650 * day, targets: 1095 * day, snapshot: 1095 * day, timestamp: 14 * day },
};
