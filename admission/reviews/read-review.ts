import { parseJson } from '../../base/json/index.ts';
import { fieldsOf, textOf } from '../../base/kubernetes/index.ts';
import { partyOf } from './party.ts';

/** The parts of an AdmissionReview request that a decision needs (admission.k8s.io/v1). */
export interface Review {
  readonly uid: string;
  readonly operation: string;
  /** Empty for a cluster-scoped object. */
  readonly namespace: string;
  /** The party that the review counts for in limits ({@link partyOf}). */
  readonly party: string;
  /** Such as `pods/ephemeralcontainers`, for messages and metrics. */
  readonly resource: string;
  readonly object: unknown;
  readonly oldObject: unknown;
}

/** A review, or the reason why the body is not a review. If the uid is known, the answer can be a refusal. */
export type ReadReview = { readonly review: Review } | { readonly malformed: string; readonly uid?: string };

const apiVersion = 'admission.k8s.io/v1';
/** The API server sends a UUID. The answer contains it, so its length is limited. */
const uidForm = /^[\x21-\x7e]{1,128}$/;
const operations = ['CREATE', 'UPDATE', 'DELETE', 'CONNECT'];

/** Reads the body of a request of the API server. */
export function readReview(body: string): ReadReview {
  let value: unknown;
  try {
    value = parseJson(body);
  } catch (error) {
    return { malformed: `it is not JSON: ${(error as Error).message.slice(0, 200)}` };
  }
  const review = fieldsOf(value);
  const request = fieldsOf(review['request']);
  const uid = textOf(request['uid']);
  if (!uidForm.test(uid)) return { malformed: 'request.uid is missing' };
  const malformed = (why: string): ReadReview => ({ malformed: why, uid });
  if (review['apiVersion'] !== apiVersion || review['kind'] !== 'AdmissionReview')
    return malformed(`it is not an AdmissionReview with the apiVersion ${apiVersion}`);
  const operation = textOf(request['operation']);
  if (!operations.includes(operation))
    return malformed(`request.operation is not one of ${operations.join(', ')}`);
  const namespace = request['namespace'] ?? '';
  if (typeof namespace !== 'string' || namespace.length > 253)
    return malformed('request.namespace is not a valid name of a namespace');
  const { object, oldObject } = request;
  const changes = operation === 'CREATE' || operation === 'UPDATE';
  if (changes && !isObject(object))
    return malformed(`request.object is missing, and the operation is ${operation}`);
  if (oldObject !== undefined && oldObject !== null && !isObject(oldObject))
    return malformed('request.oldObject is not an object');
  const subResource = textOf(request['subResource']);
  const resource = textOf(fieldsOf(request['resource'])['resource']);
  return {
    review: {
      ...{ uid, operation, namespace, object, oldObject },
      party: partyOf(request, namespace),
      resource: subResource === '' ? resource : `${resource}/${subResource}`,
    },
  };
}

const isObject = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
