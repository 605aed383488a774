import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  connectionsCheckingInterval,
  createHttpServer,
  limitHttpConnections,
} from '../../base/connections/index.ts';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Health } from './health.ts';
import type { Metrics } from './metrics.ts';

export interface HttpListener {
  /** The bound port; with port 0, the port that the kernel chose. */
  readonly port: number;
  close(): Promise<void>;
}

/**
 * Serves only `/metrics` and `/healthz`, by GET and HEAD. Plain HTTP without authentication, for loopback or
 * for a network of the operator. Limits: 32 connections (16 per address; the address with the most
 * connections loses one), 5 s for a request, 8 KiB of headers.
 * @param address HOST:PORT, IPv6 in brackets
 * @throws PortcullisError RUNTIME_METRICS_LISTEN
 */
export async function listenHttp(
  address: string,
  parts: { readonly metrics: Pick<Metrics, 'render'>; readonly health: () => Promise<Health> },
): Promise<HttpListener> {
  const server = createHttpServer(
    {
      maxHeaderSize: 8192,
      requestTimeout: 5_000,
      headersTimeout: 5_000,
      keepAliveTimeout: 60_000,
      connectionsCheckingInterval,
    },
    (request, response) => {
      listener.serve(request, response, () =>
        answer(request, response, parts).catch((cause: unknown) =>
          reply(response, 500, 'text/plain', `${reasonOf(cause)}\n`),
        ),
      );
    },
  );
  const listener = limitHttpConnections(server, { most: 32, mostOfPeer: 16 }, false);
  server.unref();
  const at = address.lastIndexOf(':');
  const host = address.slice(0, at).replace(/^\[(.*)\]$/, '$1');
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(Number(address.slice(at + 1)), host, () => {
      // A failed accept. Without a listener it would end the process.
      server.on('error', () => undefined);
      resolve();
    });
  }).catch((cause: unknown) => {
    throw new PortcullisError({
      code: 'RUNTIME_METRICS_LISTEN',
      kind: 'precondition',
      attempted: 'serve metrics on',
      on: address,
      why: reasonOf(cause),
      fix: 'use another metrics.address, or an empty one',
      cause,
    });
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  parts: Parameters<typeof listenHttp>[1],
): Promise<void> {
  const path = request.url?.split('?')[0];
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('Allow', 'GET, HEAD');
    reply(response, 405, 'text/plain', 'GET or HEAD\n');
  } else if (path === '/metrics') {
    const { contentType, text } = await parts.metrics.render();
    reply(response, 200, contentType, text);
  } else if (path === '/healthz') {
    const { healthy, checks } = await parts.health();
    reply(response, healthy ? 200 : 503, 'application/json', `${JSON.stringify({ healthy, checks })}\n`);
  } else reply(response, 404, 'text/plain', '/metrics or /healthz\n');
}

function reply(response: ServerResponse, status: number, contentType: string, text: string): void {
  if (response.headersSent) response.destroy();
  else
    response
      .writeHead(status, {
        'Content-Type': contentType,
        'Content-Length': Buffer.byteLength(text),
        'Cache-Control': 'no-store',
      })
      .end(text);
}
