import { once } from 'node:events';
import { createReadStream, statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename, join } from 'node:path';

/** A web server with the files of one folder, on loopback. */
export interface ServedFolder {
  readonly port: number;
  /** Serves the files of another folder from now on. */
  use(folder: string): void;
  close(): void;
}

export async function serveFolder(): Promise<ServedFolder> {
  let served = '';
  const server = createServer((request, response) => {
    const file = join(served, basename(request.url ?? ''));
    const stats = statSync(file, { throwIfNoEntry: false });
    if (stats?.isFile() !== true) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { 'content-length': stats.size });
    createReadStream(file).pipe(response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    use(folder) {
      served = folder;
    },
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
