import { PortcullisError } from '../../base/errors/index.ts';

/** The error for a field of a request that has no usable value. */
export function badField(field: string, why: string, fix = `send ${field}`): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_BAD_REQUEST',
    kind: 'invalid',
    attempted: 'read request field',
    on: field,
    why,
    fix,
  });
}

/**
 * Returns the name of an image that a request names.
 * @param attempted what the request asks for, such as "pull image"
 * @throws PortcullisError RUNTIME_BAD_REQUEST
 */
export function namedImage(image: string | undefined, attempted: string): string {
  if (image !== undefined && image !== '') return image;
  throw new PortcullisError({
    code: 'RUNTIME_BAD_REQUEST',
    kind: 'invalid',
    attempted,
    on: 'image.image',
    why: 'it is empty',
    fix: 'name an image',
  });
}
