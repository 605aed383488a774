import type { ServiceLink } from '../../../../cni-plugins/services/ipvs/link.ts';

/** Replaces `ipvs/link.ts`: IPVS was never in use, and has left no link. */
export function openServiceLink(): Pick<ServiceLink, 'stands' | 'delete' | 'close'> {
  return { stands: () => false, delete: () => undefined, close: () => undefined };
}
