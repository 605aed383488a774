import { request, Agent } from 'node:https';
import type { RequestOptions } from 'node:https';
import type { TestContext } from 'node:test';
import { createRegistryClient } from '../base/distribution/index.ts';
import { createLogger } from '../base/log/index.ts';
import { loadProfiles } from '../entitlements/index.ts';
import { keyRequirement, policyOf } from '../trust/evidence/fixtures/fixture-image.ts';
import type { RegistryAccess, TrustPolicy } from '../trust/index.ts';
import { makeServerCertificate } from '../trust/x509/index.ts';
import { registryConnections } from './decisions/answer-cache.ts';
import { readPair } from './certificates/serving-pair.ts';
import type { PolicyInForce } from './policy/policy-in-force.ts';
import { startWebhook } from './service/webhook.ts';
import type { Webhook, WebhookOptions } from './service/webhook.ts';

export const serviceName = 'portcullis-webhook.portcullis-webhook.svc';

/** A policy that requires the ECDSA P-256 key of the fixtures. */
export const signedPolicy = policyOf({ require: keyRequirement('ecdsa-p256') });

export interface Answered {
  readonly status: number;
  readonly body: string;
  /** The header `Connection`. */
  readonly connection: string | undefined;
  /** Present if the answer is an AdmissionReview. */
  readonly response: ReviewResponse;
}

export interface ReviewResponse {
  readonly uid: string;
  readonly allowed: boolean;
  readonly status?: { readonly code: number; readonly message: string; readonly reason: string };
  readonly patch?: string;
  readonly patchType?: string;
  readonly warnings?: readonly string[];
  readonly auditAnnotations?: Readonly<Record<string, string>>;
}

/** Sends requests to a webhook over TLS, and trusts only the authority of the webhook. */
export function clientOf(
  t: TestContext,
  url: string,
  authority: () => string,
  name = serviceName,
): (path: string, body?: string | Buffer, more?: RequestOptions) => Promise<Answered> {
  const agent = new Agent({ keepAlive: true, maxSockets: 200 });
  t.after(() => agent.destroy());
  return (path, body, more = {}) =>
    new Promise((resolve, reject) => {
      const call = request(new URL(path, url), {
        agent,
        ca: authority(),
        servername: name,
        method: body === undefined ? 'GET' : 'POST',
        ...more,
        headers: {
          ...(body !== undefined && { 'content-type': 'application/json' }),
          ...(more.headers as Readonly<Record<string, string>> | undefined),
        },
      });
      call.on('error', reject);
      call.on('response', (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('error', reject);
        answer.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          const isJson = answer.headers['content-type'] === 'application/json';
          const { response } = isJson
            ? (JSON.parse(text) as { response: ReviewResponse })
            : { response: undefined };
          resolve({
            ...{ status: answer.statusCode ?? 0, body: text, connection: answer.headers.connection },
            response: response as ReviewResponse,
          });
        });
      });
      call.end(body);
    });
}

export interface StartedWebhook {
  readonly webhook: Webhook;
  readonly ask: ReturnType<typeof clientOf>;
  /** Replaces the policy. */
  use(policy: TrustPolicy | undefined): void;
}

/** Starts a webhook in this process, with TLS and a policy in memory. */
export async function startTestWebhook(
  t: TestContext,
  policy: TrustPolicy | undefined,
  more: Partial<WebhookOptions> = {},
): Promise<StartedWebhook> {
  const made = await makeServerCertificate({
    names: [serviceName],
    from: new Date(Date.now() - 60_000),
    until: new Date(Date.now() + 3_600_000),
  });
  const profiles = await loadProfiles({ paths: [] });
  const current = { policy };
  const inForce: PolicyInForce = {
    current: () => current.policy,
    profiles: () => profiles,
    problem: () => (current.policy === undefined ? 'policy.yaml:1:1: it is empty' : undefined),
  };
  const webhook = await startWebhook({
    ...{ listen: '127.0.0.1:0', policy: inForce, drainMs: 0, platforms: [] },
    pair: readPair(made.certificate, made.key, 'test'),
    registry: registryAccess(t),
    log: createLogger({ level: 'silent' }),
    ...more,
  });
  t.after(() => webhook.close());
  return {
    webhook,
    ask: clientOf(t, webhook.url, () => made.authority),
    use: (next) => (current.policy = next),
  };
}

/** Returns access to registries as the webhook has it, with the mirrors of the test. */
export function registryAccess(t: TestContext, mirrors: RegistryAccess['options'] = {}): RegistryAccess {
  const options = { retry: { attempts: 1 }, connections: registryConnections, ...mirrors };
  const client = createRegistryClient(options);
  t.after(() => client.close());
  return {
    options,
    repositories: (reference) => Promise.resolve(client.repositories(reference)),
    close: () => client.close(),
  };
}

let count = 0;

/** Returns the body of a review, as an API server sends it. */
export function reviewOf(
  object: object,
  {
    operation = 'CREATE',
    oldObject = null,
    namespace = 'shop',
    ...more
  }: Readonly<Record<string, unknown>> = {},
): string {
  return JSON.stringify({
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    request: {
      uid: `uid-${(count += 1)}`,
      resource: { group: '', version: 'v1', resource: 'pods' },
      ...{ operation, namespace, object, oldObject, dryRun: false, ...more },
    },
  });
}

export const podOf = (...images: readonly string[]): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'web' },
  spec: { containers: images.map((image, index) => ({ name: `c${index}`, image })) },
});

export const patchOf = ({ patch = '' }: ReviewResponse): unknown =>
  patch === '' ? [] : JSON.parse(Buffer.from(patch, 'base64').toString());
