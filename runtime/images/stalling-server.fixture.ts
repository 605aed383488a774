import { httpRequest } from '../../base/connections/index.ts';
import { serveHttp } from '../../test/fixtures/registry.ts';
import type { TestServer } from '../../test/fixtures/registry.ts';

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

export async function startHoldingServer(registryHost: string): Promise<HoldingServer> {
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
