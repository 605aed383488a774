import type { Server } from 'node:http';
import {
  connectionsCheckingInterval,
  createHttpServer,
  limitHttpConnections,
} from '../../../base/connections/index.ts';
import { reasonOf } from '../../../base/errors/index.ts';
import type { HealthCheckPort } from './health-check-ports.ts';

/**
 * Answers the health checks of load balancers. Before a load balancer sends a node connections of a service
 * with `externalTrafficPolicy: Local`, it asks at the `healthCheckNodePort` whether the node has endpoints of
 * the service. The answer is 200 or 503, with the same body as kube-proxy's.
 */
export interface HealthChecks {
  /** Serves exactly these checks. */
  serve(checks: readonly HealthCheckPort[]): void;
  close(): Promise<void>;
}

/**
 * Returns the number for the family of the address at which the load balancer asks, as kube-proxy does. At an
 * address of a family that the service does not have, it is that of the other family.
 */
function numberAt(address: string, { localEndpoints }: HealthCheckPort): number {
  const [first = 0] = localEndpoints.values();
  return localEndpoints.get(address.includes('.') ? 4 : 6) ?? first;
}

/** A port that another program has taken may become free. */
const retryAfterMs = 30_000;

/** @param isHealthy whether changes of services reach the kernel */
export function openHealthChecks(
  log: { warn(fields: object, message: string): void },
  isHealthy: () => boolean = () => true,
): HealthChecks {
  const current = new Map<number, HealthCheckPort>();
  const servers = new Map<number, Server>();
  const retries = new Map<number, NodeJS.Timeout>();
  let closed = false;

  function listen(port: number): void {
    const server = createHttpServer(
      {
        requestTimeout: 5000,
        headersTimeout: 5000,
        keepAliveTimeout: 1000,
        maxHeaderSize: 8192,
        connectionsCheckingInterval,
      },
      ({ socket }, response) => {
        const check = current.get(port);
        if (check === undefined) return void response.writeHead(503).end();
        const { namespace, name } = check;
        const localEndpoints = numberAt(socket.localAddress ?? '', check);
        const serviceProxyHealthy = isHealthy();
        response.writeHead(localEndpoints > 0 && serviceProxyHealthy ? 200 : 503, {
          'content-type': 'application/json',
          'x-content-type-options': 'nosniff',
          'x-load-balancing-endpoint-weight': String(localEndpoints),
          connection: 'close',
        });
        response.end(JSON.stringify({ service: { namespace, name }, localEndpoints, serviceProxyHealthy }));
      },
    );
    // Load balancers ask from several addresses. Another client that holds connections must not make the node
    // look unhealthy.
    limitHttpConnections(server, { most: 128, mostOfPeer: 16 }, false);
    server.on('error', (error) => {
      // A server that already listens would keep the port from the next server, and nobody would close it.
      server.closeAllConnections();
      server.close();
      if (servers.get(port) === server) servers.delete(port);
      const check = current.get(port);
      if (closed || check === undefined) return;
      log.warn(
        { service: `${check.namespace}/${check.name}`, port, why: reasonOf(error) },
        'a healthCheckNodePort cannot be served; retrying',
      );
      retries.set(
        port,
        setTimeout(() => {
          retries.delete(port);
          if (current.has(port)) listen(port);
        }, retryAfterMs),
      );
    });
    servers.set(port, server);
    // At every address of the node, of both families.
    server.listen(port);
    server.unref();
  }

  async function end(port: number): Promise<void> {
    clearTimeout(retries.get(port));
    retries.delete(port);
    const server = servers.get(port);
    servers.delete(port);
    if (server === undefined) return;
    server.closeAllConnections();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  let served: readonly HealthCheckPort[] = [];
  return {
    serve(checks) {
      if (checks === served) return;
      served = checks;
      const wanted = new Map(checks.map((check) => [check.port, check]));
      for (const port of current.keys()) {
        if (wanted.has(port)) continue;
        current.delete(port);
        void end(port);
      }
      for (const [port, check] of wanted) {
        const known = current.has(port);
        current.set(port, check);
        if (!known) listen(port);
      }
    },
    async close() {
      closed = true;
      current.clear();
      await Promise.all([...new Set([...servers.keys(), ...retries.keys()])].map(end));
    },
  };
}
