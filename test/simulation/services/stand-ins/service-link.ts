import type { ServiceLink } from '../../../../cni-plugins/services/ipvs/link.ts';

/** In the place of `ipvs/link.ts`: IPVS was never here, and has left no link. */
export function openServiceLink(): Pick<ServiceLink, 'stands' | 'delete' | 'close'> {
  return { stands: () => false, delete: () => undefined, close: () => undefined };
}
