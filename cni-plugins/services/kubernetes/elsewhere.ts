import type { Family, ServicePort } from '../model/model.ts';
import { isEndingWell, isIpv6 } from './endpoints.ts';
import type { Candidate, MappedPort, Place } from './endpoints.ts';

/** Returns the port, with the families in which a `Local` policy finds endpoints only on other nodes. */
export function withElsewhere(
  mapped: MappedPort,
  candidates: readonly Candidate[],
  place: Place,
): ServicePort {
  const elsewhere = elsewhereOf(mapped, candidates, place);
  return elsewhere.length === 0 ? mapped.port : { ...mapped.port, elsewhere };
}

/**
 * Returns the families in which this node has no endpoint for a `Local` traffic policy, and another node has
 * one. kube-proxy 1.36 drops connections there (pkg/proxy/nftables/proxier.go, `hasExternalEndpoints`), so
 * that a client of several nodes does not give up.
 */
function elsewhereOf(
  { inSlices }: MappedPort,
  candidates: readonly Candidate[],
  { nodeName }: Place,
): readonly Family[] {
  const usable = candidates.filter(
    (candidate) =>
      candidate.ports[inSlices] !== undefined && (candidate.ready || isEndingWell({ candidate })),
  );
  return ([4, 6] as const).filter((family) => {
    const own = usable.filter((candidate) => isIpv6(candidate) === (family === 6));
    return own.length > 0 && own.every(({ node }) => node !== nodeName);
  });
}
