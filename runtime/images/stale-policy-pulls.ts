import { imageError } from './limits/failures.ts';
import type { OpenImageStore } from './image-store.ts';

/**
 * Returns the image store, which pulls nothing new while `refusesNew` gives a reason. A pull by a recorded
 * digest is not new, because it cannot bring other content.
 * @throws IMAGES_POLICY_STALE from `pull` and `importLayout`
 */
export function withHeldPulls<Store extends Pick<OpenImageStore, 'find' | 'importLayout' | 'pull'>>(
  images: Store,
  refusesNew: () => string | undefined,
): Store {
  const refuseNew = (reference: string, isHere: boolean): void => {
    const why = isHere ? undefined : refusesNew();
    if (why === undefined) return;
    throw imageError({
      code: 'IMAGES_POLICY_STALE',
      kind: 'denied',
      attempted: 'pull image',
      on: reference.slice(0, 300),
      why,
      fix: 'make the source of the policy reachable; portcullis policy status shows what the node last received from it',
      prefix: 'SignatureValidationFailed',
    });
  };
  return {
    ...images,
    pull: async (request) => {
      const { reference } = request;
      refuseNew(reference, reference.includes('@sha256:') && images.find(reference) !== undefined);
      return images.pull(request);
    },
    importLayout: async (request) => {
      refuseNew(request.reference, false);
      return images.importLayout(request);
    },
  };
}
