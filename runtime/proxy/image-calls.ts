import { isDeepStrictEqual } from 'node:util';
import { formatReference } from '../../base/distribution/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { criCodec } from '../cri/contract/services.ts';
import type {
  Image,
  ImageStatusRequest,
  ImageStatusResponse,
  ListImagesRequest,
  PullImageRequest,
  RemoveImageRequest,
} from '../cri/contract/contract.types.ts';
import { imageIdOf } from '../images/artifact-layer.ts';
import { pullCredentials } from '../services/image-messages.ts';
import type { Verified } from '../images/pull.ts';
import { decoded, readable } from './calls.ts';
import type { InterceptedCall, Interceptors } from './calls.ts';
import type { ProxyImages } from './images.ts';
import { editMessage } from './wire.ts';
import { namedImage } from '../cri/bad-field.ts';

/**
 * The calls of the ImageService that the proxy reads. A pull is passed on by digest, after the verdict. The
 * backend then knows the image by its digest alone; the tags in its answers are those of the records here.
 */
export function imageCalls(images: ProxyImages, log: Logger): Interceptors {
  const listed = (message: 'ListImagesResponse' | 'StreamImagesResponse', bytes: Buffer): Buffer =>
    editMessage(bytes, { message, fields: { images: { each: (image) => withTags(images, image) } } });
  return {
    calls: {
      'ImageService/PullImage': async (call) => {
        const { image, auth, sandboxConfig } = decoded(
          criCodec<PullImageRequest>('PullImageRequest'),
          call.request,
        );
        const credentials = pullCredentials(auth);
        const verified = await images.verify({
          reference: namedImage(image?.image, 'pull image'),
          namespace: sandboxConfig?.metadata?.namespace ?? '',
          ...(credentials !== undefined && { credentials }),
          signal: call.signal,
        });
        const byDigest = digestName(verified);
        const answer = await call.forward(withImage(call.request, 'PullImageRequest', byDigest));
        await requireSame(call, byDigest, verified);
        const record = await images.record(verified);
        const { id: verdict } = verified.decided.verdict;
        log.info(
          { image: record.id, reference: verified.name.text, pulled: byDigest, verdict },
          'image pulled',
        );
        return answer;
      },
      'ImageService/ImageStatus': async (call) => {
        const { image } = decoded(criCodec<ImageStatusRequest>('ImageStatusRequest'), call.request);
        const byDigest = images.byDigest(image?.image ?? '');
        const answer = await call.forward(
          byDigest === undefined ? call.request : withImage(call.request, 'ImageStatusRequest', byDigest),
        );
        const { image: found } = decoded(
          criCodec<ImageStatusResponse>('ImageStatusResponse'),
          answer.message,
        );
        if (found === undefined) return answer;
        const message = editSingle(answer.message, (bytes) => withTags(images, bytes));
        return { ...answer, message };
      },
      'ImageService/ListImages': async (call) => {
        const { filter } = decoded(criCodec<ListImagesRequest>('ListImagesRequest'), call.request);
        const byDigest = images.byDigest(filter?.image?.image ?? '');
        const answer = await call.forward(
          byDigest === undefined
            ? call.request
            : readable(() =>
                editMessage(call.request, {
                  message: 'ListImagesRequest',
                  fields: { filter: { into: { message: 'ImageFilter', fields: imageField(byDigest) } } },
                }),
              ),
        );
        return { ...answer, message: listed('ListImagesResponse', answer.message) };
      },
      'ImageService/RemoveImage': async (call) => {
        const { image } = decoded(criCodec<RemoveImageRequest>('RemoveImageRequest'), call.request);
        const asked = namedImage(image?.image, 'remove image');
        const known = images.find(asked);
        const byDigest = images.byDigest(asked);
        const answer = await call.forward(
          byDigest === undefined ? call.request : withImage(call.request, 'RemoveImageRequest', byDigest),
        );
        // As in our own daemon, a removal by name removes the image with all of its names.
        if (known !== undefined) await images.forget(known.id);
        return answer;
      },
    },
    streams: { 'ImageService/StreamImages': (message) => listed('StreamImagesResponse', message) },
  };
}

/** Asks the backend for an image by name or id. Undefined: it has none. */
export async function backendImage(call: InterceptedCall, name: string): Promise<Image | undefined> {
  const request = criCodec<ImageStatusRequest>('ImageStatusRequest').encode({ image: { image: name } });
  const answer = await call.ask('ImageService/ImageStatus', request);
  return decoded(criCodec<ImageStatusResponse>('ImageStatusResponse'), answer).image;
}

/** Returns the id of an image in our form: some runtimes leave out the algorithm. */
export function imageIdFrom(id: string): string {
  return /^[0-9a-f]{64}$/.test(id) ? `sha256:${id}` : id;
}

/** Returns `repository@digest` of a verified reference. */
export function digestName({ name, resolved }: Verified): string {
  const { registry, repository } = name.reference;
  return formatReference({ registry, repository, digest: resolved.digest });
}

/** Checks that the backend has the verified image under this name. @throws PROXY_OTHER_IMAGE */
async function requireSame(call: InterceptedCall, byDigest: string, verified: Verified): Promise<void> {
  const held = await backendImage(call, byDigest);
  const wanted = imageIdOf(verified.resolved);
  if (held !== undefined && imageIdFrom(held.id) === wanted) return;
  throw new PortcullisError({
    code: 'PROXY_OTHER_IMAGE',
    kind: 'precondition',
    attempted: 'pull image through the backend',
    on: byDigest,
    why:
      held === undefined
        ? 'the backend reported success but does not have the image'
        : `the backend has the image ${held.id}, but the verified image is ${wanted}`,
    fix: 'configure the backend to pull for the platform of this node, from the same registry or mirror, and pull again',
  });
}

/**
 * Returns an encoded Image with the tags of the records: those that mean this image, and none that means
 * another one.
 */
function withTags(images: ProxyImages, bytes: Buffer): Buffer {
  const image = criCodec<Image>('Image').decode(bytes);
  const id = imageIdFrom(image.id);
  const own = image.repoTags.filter((tag) => (images.ownerOf(tag) ?? id) === id);
  const tags = [...new Set([...own, ...(images.find(id)?.repoTags ?? [])])];
  if (isDeepStrictEqual(tags, image.repoTags)) return bytes;
  return editMessage(bytes, { message: 'Image', fields: { repoTags: { set: tags } } });
}

function editSingle(bytes: Buffer, edit: (image: Buffer) => Buffer): Buffer {
  return editMessage(bytes, { message: 'ImageStatusResponse', fields: { image: { each: edit } } });
}

/** Returns a request with another image name. */
function withImage(request: Buffer, message: string, image: string): Buffer {
  return readable(() => editMessage(request, { message, fields: imageField(image) }));
}

const imageField = (image: string) =>
  ({ image: { into: { message: 'ImageSpec', fields: { image: { set: image } } } } }) as const;
