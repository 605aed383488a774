import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';

/** Where a server listens. */
export interface ListenAddress {
  /** An address or a name; empty: every address of the machine. */
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
}

/** Reads `HOST:PORT`, `[IPV6]:PORT` or `:PORT`. Returns undefined for anything else. */
export function readListenAddress(text: string): ListenAddress | undefined {
  const [, six, name, port] = /^(?:\[([^\]]+)\]|([^:[\]]*)):(\d{1,5})$/u.exec(text) ?? [];
  if (port === undefined || Number(port) > 65_535) return undefined;
  return { host: six ?? name ?? '', port: Number(port) };
}

/**
 * Makes a server listen. Rejects with the error of the server if it cannot.
 * @returns the authority of the server's URLs, such as `127.0.0.1:4443`, with the port that was chosen
 */
export async function listenOn(server: Server, { host, port }: ListenAddress): Promise<string> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port, ...(host !== '' && { host }) }, () => {
      server.removeListener('error', reject);
      resolve();
    });
  });
  const bound = server.address();
  const actual = typeof bound === 'object' && bound !== null ? bound.port : port;
  return `${host === '' ? 'localhost' : host.includes(':') ? `[${host}]` : host}:${actual}`;
}

/**
 * Closes a server: requests in flight may end within the time, then their connections are closed.
 * @param graceMs in ms
 */
export async function closeServer(server: Server, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const until = performance.now() + graceMs;
  // A connection whose request is answered becomes idle. One that was in its TLS handshake begins later, and
  // a closed server has no time limit for requests (http.Server.connectionsCheckingInterval).
  const timer = setInterval(() => {
    if (performance.now() < until) server.closeIdleConnections();
    else server.closeAllConnections();
  }, 50);
  await closed;
  clearInterval(timer);
}

/** Refuses CONNECT, which is for proxies (RFC 9110, section 9.3.6). */
export function refuseTunnel(_request: IncomingMessage, socket: Duplex): void {
  socket.on('error', () => socket.destroy());
  socket.end('HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
}
