import { createServer } from 'node:http';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';

/** As much of a docker daemon as content trust asks: it pushes and pulls nothing, and notes what it was told to. */
export interface DaemonStub {
  /** For `DOCKER_HOST`. */
  readonly address: string;
  /** Method and path of each request that changes something. */
  readonly asked: string[];
  close(): Promise<void>;
}

/** @param digest of what every push is said to have pushed */
export async function startDaemonStub(digest: () => string): Promise<DaemonStub> {
  const asked: string[] = [];
  const server = createServer((request: IncomingMessage, response) => {
    request.resume();
    const { method = 'GET', url = '/' } = request;
    const path = url.replace(/^\/v\d+\.\d+/u, '');
    if (method === 'POST') asked.push(`${method} ${decodeURIComponent(path)}`);
    response.setHeader('Api-Version', '1.41');
    response.setHeader('Content-Type', 'application/json');
    const tag = /\/push\?tag=([^&]+)/u.exec(path)?.[1];
    if (path === '/_ping') response.end('OK');
    else if (path === '/version')
      response.end('{"Version":"20.10.24","ApiVersion":"1.41","MinAPIVersion":"1.12","Os":"linux","Arch":"amd64"}');
    else if (path === '/info') response.end('{"IndexServerAddress":"https://index.docker.io/v1/","RegistryConfig":{"IndexConfigs":{}}}');
    else if (tag !== undefined)
      response.end(`{"status":"pushed"}\n{"progressDetail":{},"aux":{"Tag":"${tag}","Digest":"${digest()}","Size":500}}\n`);
    else if (path.startsWith('/images/') && method === 'GET') response.end('{"Id":"sha256:00","RepoTags":[]}');
    else if (path.includes('/tag?')) response.writeHead(201).end();
    else response.end('{"status":"done"}\n');
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  return {
    address: `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}
