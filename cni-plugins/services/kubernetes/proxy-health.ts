import type { Server } from 'node:http';
import {
  connectionsCheckingInterval,
  createHttpServer,
  limitHttpConnections,
} from '../../../base/connections/index.ts';
import { reasonOf } from '../../../base/errors/index.ts';

/**
 * Answers whether this node serves the cluster's services, as kube-proxy does at port 10256. A load balancer
 * asks `/healthz` before it sends the node connections (KEP-3836): it fails also while the node is about to
 * go. `/livez` reports only whether services are served.
 */
export interface ProxyHealth {
  close(): Promise<void>;
}

export interface ProxyHealthOptions {
  readonly address: string;
  readonly port: number;
  /** Changes of services reach the kernel. */
  isHealthy(): boolean;
  /** The node is to get connections from load balancers. */
  isEligible(): boolean;
  readonly log: { warn(fields: object, message: string): void };
  /** Default: 30 s. */
  readonly retryMs?: number;
}

/** A port that another program has taken may become free. */
const retryAfterMs = 30_000;

export function openProxyHealth({
  address,
  port,
  isHealthy,
  isEligible,
  log,
  retryMs = retryAfterMs,
}: ProxyHealthOptions): ProxyHealth {
  let server: Server | undefined;
  let again: NodeJS.Timeout | undefined;
  let lastHealthy = new Date();

  function answer(path: string): { readonly status: number; readonly body: string } | undefined {
    if (path !== '/healthz' && path !== '/livez') return undefined;
    const now = new Date();
    const [healthy, eligible] = [isHealthy(), isEligible()];
    if (healthy) lastHealthy = now;
    const isServing = healthy && (path === '/livez' || eligible);
    const times = { lastUpdated: lastHealthy.toISOString(), currentTime: now.toISOString() };
    return {
      status: isServing ? 200 : 503,
      body: JSON.stringify(path === '/livez' ? times : { ...times, nodeEligible: eligible }),
    };
  }

  function listen(): void {
    const opened = createHttpServer(
      {
        requestTimeout: 5000,
        headersTimeout: 5000,
        keepAliveTimeout: 1000,
        maxHeaderSize: 8192,
        connectionsCheckingInterval,
      },
      (request, response) => {
        const [path = ''] = (request.url ?? '').split('?');
        const found = answer(path);
        if (found === undefined) return void response.writeHead(404, { connection: 'close' }).end();
        response.writeHead(found.status, {
          'content-type': 'application/json',
          'x-content-type-options': 'nosniff',
          connection: 'close',
        });
        response.end(found.body);
      },
    );
    server = opened;
    limitHttpConnections(opened, { most: 128, mostOfPeer: 16 }, false);
    opened.on('error', (error) => {
      // A server that already listens would keep the port from the next server.
      opened.closeAllConnections();
      opened.close();
      log.warn(
        { address, port, why: reasonOf(error) },
        'the health endpoint of services cannot be served; retrying',
      );
      clearTimeout(again);
      again = setTimeout(listen, retryMs);
      again.unref();
    });
    opened.listen(port, address);
    opened.unref();
  }
  listen();

  return {
    async close() {
      clearTimeout(again);
      const open = server;
      if (open?.listening !== true) return;
      open.closeAllConnections();
      await new Promise<void>((resolve) => open.close(() => resolve()));
    },
  };
}
