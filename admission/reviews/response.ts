/** An answer to a review, before it is written in the form of the API. */
export interface ReviewAnswer {
  readonly allowed: boolean;
  /** A refusal has an HTTP status from 400 on, and a text for the user. */
  readonly status?: { readonly code: number; readonly reason: string; readonly message: string };
  readonly patch?: readonly PatchOperation[];
  readonly warnings?: readonly string[];
  /** Keys without a prefix: the API server adds the name of the webhook. */
  readonly audit?: Readonly<Record<string, string>>;
}

/** An operation of a JSON Patch (RFC 6902). */
export interface PatchOperation {
  readonly op: 'replace';
  /** A JSON Pointer (RFC 6901). */
  readonly path: string;
  readonly value: string;
}

/** The API server cuts a longer warning (Kubernetes, "Dynamic Admission Control", Response). */
const longestWarning = 256;
const mostWarnings = 16;

/** Returns the AdmissionReview that answers the review with this uid (admission.k8s.io/v1). */
export function reviewResponse(uid: string, answer: ReviewAnswer): string {
  const { allowed, status, patch = [], warnings = [], audit } = answer;
  return JSON.stringify({
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    response: {
      uid,
      allowed,
      ...(status !== undefined && { status: { status: 'Failure', ...status } }),
      ...(patch.length > 0 && {
        patchType: 'JSONPatch',
        patch: Buffer.from(JSON.stringify(patch)).toString('base64'),
      }),
      ...(warnings.length > 0 && { warnings: shortened(warnings) }),
      ...(audit !== undefined && { auditAnnotations: audit }),
    },
  });
}

/** In characters. The message reaches the user of kubectl, and events of controllers. */
export const longestMessage = 24 * 1024;

/** Returns the answer that refuses an object. */
export function refusal(code: number, reason: string, message: string): ReviewAnswer {
  return { allowed: false, status: { code, reason, message: message.slice(0, longestMessage) } };
}

/** Returns a JSON Pointer. */
export function pointer(path: readonly (string | number)[]): string {
  return path.map((part) => `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}

/** Warnings become HTTP headers, which cannot contain control characters. */
function shortened(warnings: readonly string[]): readonly string[] {
  const more = warnings.length - mostWarnings;
  const shown = more > 0 ? [...warnings.slice(0, mostWarnings), `and ${more} more warnings`] : warnings;
  return shown.map((text) => {
    const line = text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ');
    return line.length > longestWarning ? `${line.slice(0, longestWarning - 1)}…` : line;
  });
}
