import { parseReference } from '../../base/distribution/index.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import type { PathSegment, Problem } from '../../base/schema/index.ts';
import { contradictionsOf, readServices, refuseInvalid } from '../../cni-plugins/index.ts';
import { asCreated } from '../controllers/networks.ts';
import { serviceDocument } from '../controllers/services.ts';
import { contradictorySysctls } from '../controllers/sysctls.ts';
import type { NodeState } from '../model/types.ts';

export type ProblemOf = (path: readonly PathSegment[], message: string, fix?: string) => Problem;

/**
 * Returns the items that no node could have: names of images that are not valid, networks that cannot be
 * created, and networks, services and kernel settings that exclude each other. These checks apply to a new
 * document only: a node continues with a state that an earlier version accepted.
 */
export function unfitItems(state: NodeState, problem: ProblemOf): Problem[] {
  const found: Problem[] = [];
  const attempt = (path: readonly PathSegment[], check: () => void): void => {
    try {
      check();
    } catch (thrown) {
      if (!isPortcullisError(thrown)) throw thrown;
      found.push(problem(path, thrown.failure.why));
    }
  };
  for (const [index, { image }] of state.images.entries())
    attempt(['images', index, 'image'], () => parseReference(image));
  for (const [index, { containers }] of state.staticPods.entries())
    for (const [each, { image }] of containers.entries())
      if (!imageId.test(image))
        attempt(['staticPods', index, 'containers', each, 'image'], () => parseReference(image));
  const networks = state.networks.map(asCreated);
  for (const [index, network] of networks.entries())
    attempt(['networks', index], () => refuseInvalid(network, networks.slice(0, index)));
  for (const { name, why } of contradictorySysctls(state.sysctls))
    found.push(problem(['sysctls', name], why, 'remove one of the two'));
  return [...found, ...sharedAddresses(state, problem)];
}

/** A pod can also name an image that the node already has by its ID. */
const imageId = /^(?:sha256:)?[0-9a-f]{64}$/u;

function sharedAddresses({ services }: NodeState, problem: ProblemOf): Problem[] {
  const read = services.flatMap((service, index) =>
    readServices([{ file: service.name, text: serviceDocument(service) }]).described.map((one) => ({
      index,
      service: one.service,
    })),
  );
  return contradictionsOf(read.map(({ service }) => service)).map(({ index, field, why }) => {
    const parts = field.split('.').map((part) => (/^\d+$/u.test(part) ? Number(part) : part));
    return problem(['services', read[index]?.index ?? 0, ...parts], why, 'change one of the two');
  });
}
