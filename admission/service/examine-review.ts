import { fieldsOf, listOf } from '../../base/kubernetes/index.ts';
import type { WorkloadImage } from '../../trust/gate/index.ts';
import { podDemands } from '../decisions/ceilings.ts';
import type { PodDemands } from '../decisions/ceilings.ts';
import { mostImages, reviewedImages } from '../reviews/images.ts';
import { readReview } from '../reviews/read-review.ts';
import type { ReadReview, Review } from '../reviews/read-review.ts';
import { refusal } from '../reviews/response.ts';
import type { ReviewAnswer } from '../reviews/response.ts';

/** `mutate`: images that are admitted get the digest that was decided about. */
export type ReviewMode = 'validate' | 'mutate';

/** The answer shows at most as many warnings. */
const mostUnread = 16;

/**
 * The parts of a review that a decision needs. The objects are left out: in memory they have about twenty
 * times the size of their JSON, and a review may wait for registries.
 */
export interface ExaminedReview {
  readonly mode: ReviewMode;
  readonly namespace: string;
  readonly party: string;
  /** Images that the review adds. */
  readonly images: readonly WorkloadImage[];
  /** Warnings about parts whose images are not checked. */
  readonly unread: readonly string[];
  /** Whether tags are replaced by digests. */
  readonly pins: boolean;
  /** Undefined: the object is no pod and has no template of pods, or the answer has no warnings. */
  readonly demands: PodDemands | undefined;
}

/** A review that was examined, or the reason why the body is not a review. */
export type Examined =
  | { readonly uid: string; readonly examined: ExaminedReview | { readonly refusal: ReviewAnswer } }
  | Extract<ReadReview, { readonly malformed: string }>;

/**
 * Objects, lists, keys and entries of a body. Each takes up to about a hundred bytes of memory, and
 * microseconds, while other large reviews wait. An API server accepts objects of 3 MiB, which have fewer
 * parts, also together with the object before: an entry of a list, such as `"a",`, takes four bytes, and the
 * object before has at most 1.5 MiB in etcd.
 */
const mostParts = 2_000_000;

/** Examines the body of a request of the API server. The parsed body is garbage when this returns. */
export function examineBody(body: Uint8Array, mode: ReviewMode, allowUnread: boolean): Examined {
  if (hasMoreParts(body, mostParts)) return { malformed: `it has more than ${mostParts} parts` };
  const read = readReview(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('utf8'));
  if ('malformed' in read) return read;
  return { uid: read.review.uid, examined: examineReview(read.review, mode, allowUnread) };
}

/**
 * Reads a review, and returns what is decided about, or the refusal of an object that cannot be decided
 * about.
 * @param allowUnread if the images of parts of an object are not checked, the answer has a warning. Otherwise
 * the object is refused
 */
function examineReview(
  review: Review,
  mode: ReviewMode,
  allowUnread: boolean,
): ExaminedReview | { readonly refusal: ReviewAnswer } {
  const { namespace, party } = review;
  const { images, problems, unread } = reviewedImages(review);
  const invalid = (message: string) => ({ refusal: refusal(422, 'Invalid', message) });
  if (problems.length > 0) return invalid(`the images of the object cannot be read: ${listed(problems, 20)}`);
  if (unread.length > 0 && !allowUnread)
    return invalid(
      `the webhook cannot check every image of the object: ${listed(unread, 20)}; name the images in the object itself, or see --allow-unread of portcullis webhook serve`,
    );
  if (images.length > mostImages)
    return invalid(
      `the object names more than ${mostImages} images, which is the most that the webhook checks`,
    );
  // Both webhooks get each object, and the user needs each warning only once.
  const warns = mode === 'validate';
  const more = unread.length - mostUnread;
  return {
    ...{ mode, namespace, party, images },
    unread: warns
      ? [...unread.slice(0, mostUnread), ...(more > 0 ? [`${more} more parts are not checked`] : [])]
      : [],
    pins: !warns && !isCompared(review.object),
    demands: warns && images.length > 0 ? podDemands(review.object) : undefined,
  };
}

const [quote, backslash] = [0x22, 0x5c];
/** These characters begin a part. */
const [openBrace, openBracket, comma, colon] = [0x7b, 0x5b, 0x2c, 0x3a];

function hasMoreParts(json: Uint8Array, most: number): boolean {
  if (json.length <= most) return false;
  let parts = 0;
  for (let at = 0; at < json.length; at += 1) {
    const code = json[at] ?? 0;
    if (code === quote) {
      for (at += 1; at < json.length && json[at] !== quote; at += 1) if (json[at] === backslash) at += 1;
    } else if (code === comma || code === colon || code === openBrace || code === openBracket) {
      parts += 1;
      if (parts > most) return true;
    }
  }
  return false;
}

/**
 * Whether a controller created the object and compares it with its own template. If a ReplicaSet had other
 * images than the template of its Deployment, the Deployment would create further ones without end. Nobody
 * compares the images of a pod.
 */
function isCompared(value: unknown): boolean {
  const object = fieldsOf(value);
  if (object['kind'] === 'Pod' && object['apiVersion'] === 'v1') return false;
  const owners = listOf(fieldsOf(object['metadata'])['ownerReferences']).map(fieldsOf);
  return owners.some(({ controller }) => controller === true);
}

const listed = (texts: readonly string[], most: number): string =>
  texts.length > most
    ? `${texts.slice(0, most).join('; ')}; and ${texts.length - most} more`
    : texts.join('; ');
