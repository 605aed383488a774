import { once } from 'node:events';
import { existsSync, readFileSync, statSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';
import { createHttpServer } from '../base/connections/index.ts';

/** Serves the built site to a browser that checks it. */
export interface SiteServer {
  /** The address of the entry, with a slash at the end. */
  readonly url: string;
  close(): void;
}

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.json': 'application/json',
  '.woff2': 'font/woff2',
};

/**
 * Serves the files of a folder on loopback.
 * @param base the path of the site on its server, with a slash at both ends
 * @param missing gets the paths that were requested and do not exist
 */
export async function serveSite(folder: string, base: string, missing: Set<string>): Promise<SiteServer> {
  const server = createHttpServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost');
    const file = join(folder, normalize(`/${decodeURIComponent(pathname.slice(base.length))}`));
    if (!pathname.startsWith(base) || !existsSync(file) || !statSync(file).isFile()) {
      // Each browser asks for this one, whatever the page says.
      if (pathname !== '/favicon.ico') missing.add(pathname);
      response.writeHead(404).end();
      return;
    }
    response
      .writeHead(200, { 'content-type': types[extname(file)] ?? 'application/octet-stream' })
      .end(readFileSync(file));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}${base}`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
