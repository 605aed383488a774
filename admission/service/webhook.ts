import { createServer } from 'node:https';
import type { Server } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  closeServer,
  createPeerShares,
  limitHttpConnections,
  listenOn,
  readListenAddress,
  smallRequestLimits,
} from '../../base/connections/index.ts';
import { asPortcullisError, PortcullisError } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { ServingPair } from '../certificates/serving-pair.ts';
import { createImageDecisions } from '../decisions/image-decisions.ts';
import type { DecisionOptions } from '../decisions/image-decisions.ts';
import type { PolicyInForce } from '../policy/policy-in-force.ts';
import { answerRequest } from './answer-request.ts';
import { createExaminer } from './examiner.ts';
import { createWebhookCounts } from './metrics.ts';

export interface WebhookOptions extends DecisionOptions {
  /** `HOST:PORT`. Port 0 is any free port. */
  readonly listen: string;
  readonly policy: PolicyInForce;
  readonly pair: ServingPair;
  /**
   * Whether objects with parts whose images are not checked are admitted with a warning. Default: they are
   * refused.
   */
  readonly allowUnread?: boolean;
  /**
   * How long requests are accepted after `close` was called, in ms: until the API server no longer uses this
   * replica.
   */
  readonly drainMs: number;
  readonly log: Logger;
}

export interface Webhook {
  /** For example `https://127.0.0.1:8443` */
  readonly url: string;
  /** Serves another certificate from now on. Open connections stay. */
  usePair(pair: ServingPair): void;
  /** Finishes requests in flight. */
  close(): Promise<void>;
}

const connectionLimits = { most: 4096, mostOfPeer: 2048 };
/**
 * In bytes. A review contains an object and the object before the change, each of at most about 1.5 MiB in
 * etcd and 3 MiB in a request.
 */
const bodyLimits = { sent: 8 * 1024 * 1024, unpacked: 16 * 1024 * 1024 };
/** The bodies of all reviews in progress, in bytes. One API server alone gets three quarters. */
const bodiesMemory = 128 * 1024 * 1024;
const bodiesOfParty = 24 * 1024 * 1024;
/** One API server alone gets 1024. */
const mostReviews = 1366;
/** Longer than the longest review. */
const lastAnswersMs = 30_000;

/**
 * Serves the admission webhook.
 * @throws PortcullisError ADMISSION_LISTEN · ADMISSION_TLS
 */
export async function startWebhook(options: WebhookOptions): Promise<Webhook> {
  const { policy, log } = options;
  const at = readListenAddress(options.listen) ?? noAddress(options.listen);
  let { pair } = options;
  let ending = false;
  const decisions = createImageDecisions(options);
  const examiner = createExaminer();
  const counts = createWebhookCounts(() => ({
    hasPolicy: policy.current() !== undefined,
    policyIsCurrent: policy.problem() === undefined,
    certificateSeconds: Math.round((pair.until.getTime() - Date.now()) / 1000),
  }));
  const context = {
    ...{ policy, decisions, counts, allowUnread: options.allowUnread ?? false },
    ...{ body: bodyLimits, bodies: createPeerShares(bodiesMemory) },
    held: { bytes: new Map<string, number>(), mostOfParty: bodiesOfParty },
    reviews: createPeerShares(mostReviews),
    examiner,
    notReady() {
      if (ending) return 'the webhook is ending';
      return policy.current() === undefined
        ? `there is no valid policy: ${policy.problem() ?? 'no policy was found yet'}`
        : undefined;
    },
    onFailure: (thrown: unknown) =>
      log.error({ error: thrown instanceof Error ? thrown.message : String(thrown) }, 'a request failed'),
  };
  const server = secureServer(pair);
  const connections = limitHttpConnections(server, connectionLimits, true);
  server.on('request', (request, response) => {
    // The API server keeps connections open. Its next review then goes to another replica, and is not lost
    // when this one closes its connections.
    if (ending) response.setHeader('Connection', 'close');
    connections.serve(request, response, () => answerRequest(context, request, response));
  });
  const authority = await listenOn(server, at).catch(async (thrown: unknown) => {
    await decisions.close();
    throw asPortcullisError(thrown, {
      code: 'ADMISSION_LISTEN',
      kind: 'unavailable',
      attempted: 'listen on',
      on: options.listen,
      fix: 'use another address with --listen',
    });
  });
  // A failed accept, for example with EMFILE. Without a listener, this error would end the process.
  server.on('error', context.onFailure);
  return {
    url: `https://${authority}`,
    usePair(next) {
      try {
        server.setSecureContext({ key: next.key, cert: next.certificate, minVersion: 'TLSv1.2' });
        pair = next;
      } catch {
        throw tlsError();
      }
    },
    async close() {
      ending = true;
      await sleep(options.drainMs);
      await closeServer(server, lastAnswersMs);
      await Promise.all([decisions.close(), examiner.close()]);
    },
  };
}

function secureServer({ certificate, key }: ServingPair): Server {
  try {
    return createServer({
      ...smallRequestLimits,
      handshakeTimeout: smallRequestLimits.headersTimeout,
      cert: certificate,
      key,
      minVersion: 'TLSv1.2',
    });
  } catch {
    throw tlsError();
  }
}

/** The message of OpenSSL is left out, because it may quote the key. */
function tlsError(): PortcullisError {
  return new PortcullisError({
    code: 'ADMISSION_TLS',
    kind: 'invalid',
    attempted: 'use the certificate and key of the webhook',
    on: '',
    why: 'OpenSSL does not accept them as a pair',
    fix: 'name a PEM certificate chain and its private key',
  });
}

function noAddress(listen: string): never {
  throw new PortcullisError({
    code: 'ADMISSION_LISTEN',
    kind: 'invalid',
    attempted: 'listen on',
    on: listen,
    why: 'it does not have the form HOST:PORT',
    fix: 'use an address such as :8443',
  });
}
