import { httpRequest } from '../../base/connections/index.ts';
import { createRegistryClient } from '../../base/distribution/index.ts';
import type { RegistryRepository } from '../../base/distribution/index.ts';
import { serveHttp, startRegistry } from '../../test/fixtures/registry.ts';
import type { TestServer } from '../../test/fixtures/registry.ts';
import { openKit } from './test-kit.ts';
import type { Kit } from './test-kit.ts';

/** A server in front of a registry that keeps the requests for some blobs waiting. */
export interface HoldingServer extends TestServer {
  /** Holds the blobs with these digests, and no others, until `release`. */
  hold(...digests: readonly string[]): void;
  /** The number of requests for the blobs, and how many of them the client ended. */
  readonly seen: { asked: number; ended: number };
  /** The paths of all requests since the last `hold`. */
  readonly paths: readonly string[];
  release(): void;
}

async function startHoldingServer(registryHost: string): Promise<HoldingServer> {
  let held: readonly string[] = [];
  let open = Promise.withResolvers<undefined>();
  const seen = { asked: 0, ended: 0 };
  const paths: string[] = [];
  const server = await serveHttp((incoming, response) => {
    const { method, url = '' } = incoming;
    paths.push(url);
    const port = Number(registryHost.split(':')[1]);
    const pass = (): void => {
      const headers = { ...incoming.headers, host: registryHost };
      const outgoing = httpRequest({ host: '127.0.0.1', port, method, path: url, headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      });
      outgoing.once('error', () => response.destroy());
      outgoing.end();
    };
    if (!held.some((digest) => url.endsWith(digest))) {
      pass();
      return;
    }
    seen.asked += 1;
    response.once('close', () => {
      if (!response.writableEnded) seen.ended += 1;
    });
    void open.promise.then(pass);
  });
  return {
    ...server,
    seen,
    paths,
    hold(...digests) {
      held = digests;
      open = Promise.withResolvers();
      Object.assign(seen, { asked: 0, ended: 0 });
      paths.splice(0);
    },
    release() {
      open.resolve(undefined);
    },
  };
}

/** A registry, a holding server in front of it, and a store that pulls through the server. */
export interface HeldRegistry {
  readonly server: HoldingServer;
  readonly kit: Kit;
  /** Returns a repository of the registry, for pushes past the server. */
  origin(name: string): RegistryRepository;
  close(): Promise<void>;
}

export async function openHeldRegistry(): Promise<HeldRegistry> {
  const registry = await startRegistry();
  const server = await startHoldingServer(registry.host);
  const direct = createRegistryClient({ tagSettleMs: 0 });
  const kit = await openKit(server.host);
  return {
    server,
    kit,
    origin(name) {
      const [first] = direct.repositories({ registry: registry.host, repository: name });
      if (first === undefined) throw new Error('no repository');
      return first;
    },
    async close() {
      server.release();
      await kit.close();
      await direct.close();
      await server.close();
      await registry.close();
    },
  };
}
