import { imageError } from './limits/failures.ts';
import type { OpenImageStore } from './image-store.ts';

/**
 * Refuses a pull of something new for the reason `why`; undefined: nothing is refused. A pull by a recorded
 * digest is not new, because it cannot bring other content.
 * @throws IMAGES_POLICY_STALE
 */
export function refuseNewPull(
  reference: string,
  images: Pick<OpenImageStore, 'find'>,
  why: string | undefined,
): void {
  if (why === undefined) return;
  if (reference.includes('@sha256:') && images.find(reference) !== undefined) return;
  throw imageError({
    code: 'IMAGES_POLICY_STALE',
    kind: 'denied',
    attempted: 'pull image',
    on: reference.slice(0, 300),
    why,
    fix: 'make the source of the policy reachable; portcullis policy status shows what the node last received from it',
    prefix: 'SignatureValidationFailed',
  });
}

/**
 * Returns the image store, which pulls nothing new while `refusesNew` gives a reason.
 * @throws IMAGES_POLICY_STALE from `pull` and `importLayout`
 */
export function withHeldPulls<Store extends Pick<OpenImageStore, 'find' | 'importLayout' | 'pull'>>(
  images: Store,
  refusesNew: () => string | undefined,
): Store {
  const nothing = { find: () => undefined };
  return {
    ...images,
    pull: async (request) => {
      refuseNewPull(request.reference, images, refusesNew());
      return images.pull(request);
    },
    importLayout: async (request) => {
      refuseNewPull(request.reference, nothing, refusesNew());
      return images.importLayout(request);
    },
  };
}
