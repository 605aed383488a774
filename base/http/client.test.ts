import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createServer as createTcpServer } from 'node:net';
import type { AddressInfo, LookupFunction, Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { createHttpServer } from '../connections/index.ts';
import { makeCertificate } from '../../test/fixtures/certificate.ts';
import { createHttpClient } from './index.ts';
import type { HttpClient, HttpClientOptions, HttpRequest } from './index.ts';

/** A non-loopback address of this test's own namespace, for third-party registries. */
const far = '203.0.113.10';
const totalMs = 30_000;

let folder = '';
const opened: (() => unknown)[] = [];

before(() => {
  execFileSync('ip', ['address', 'add', `${far}/32`, 'dev', 'lo']);
  execFileSync('ip', ['address', 'add', '169.254.169.254/32', 'dev', 'lo']);
  folder = mkdtempSync(join(tmpdir(), 'portcullis-http-'));
  // The system's resolver reads this file: the mount exists only in this test.
  const hosts = join(folder, 'hosts');
  writeFileSync(
    hosts,
    `127.0.0.1 localhost near.test\n::1 near6.test\n${far} far.test mixed.test\n127.0.0.1 mixed.test\n169.254.169.254 cloud.test\n`,
  );
  execFileSync('mount', ['--bind', hosts, '/etc/hosts']);
  makeCertificate(folder, 'ca');
  const more = [
    '-addext',
    `subjectAltName=IP:${far},IP:127.0.0.1,DNS:far.test`,
    '-CA',
    join(folder, 'ca.pem'),
    '-CAkey',
    join(folder, 'ca.key'),
  ];
  makeCertificate(folder, 'server', { more });
});
after(() => {
  execFileSync('umount', ['/etc/hosts']);
  rmSync(folder, { recursive: true });
});
afterEach(async () => {
  for (const close of opened.splice(0).toReversed()) await close();
});

function client(options: HttpClientOptions = {}): HttpClient {
  const made = createHttpClient({ environment: {}, ...options });
  opened.push(() => made.close());
  return made;
}

async function listen(server: Server, host: string): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket.on('error', () => undefined).once('close', () => sockets.delete(socket)));
  });
  server.listen(0, host);
  await once(server, 'listening');
  opened.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

const serve = (host: string, listener: RequestListener): Promise<number> =>
  listen(createHttpServer(listener), host);
const serveTls = (host: string, listener: RequestListener): Promise<number> =>
  listen(
    createTlsServer(
      { key: readFileSync(join(folder, 'server.key')), cert: readFileSync(join(folder, 'server.pem')) },
      listener,
    ),
    host,
  );
/** Starts a server whose handler gets the socket once a request has arrived. */
const serveRaw = (answer: (socket: Socket) => void): Promise<number> =>
  listen(
    createTcpServer((socket) => void socket.once('data', () => answer(socket))),
    '127.0.0.1',
  );

const text = async (one: HttpClient, url: string, more: Partial<HttpRequest> = {}): Promise<string> =>
  String(await (await one.send({ url: new URL(url), totalMs, ...more })).bytes(1 << 20));

/** Starts a service of this machine, and counts its connections. */
async function victim(): Promise<{ readonly port: number; connections(): number }> {
  let connections = 0;
  const server = createHttpServer((_request, response) => void response.end('secret'));
  server.on('connection', () => (connections += 1));
  // It listens on IPv4 too.
  return { port: await listen(server, '::'), connections: () => connections };
}

describe('a redirect from elsewhere', () => {
  const hosts = [
    '0.0.0.0',
    '0',
    '[::]',
    '[::ffff:7f00:1]',
    '[::ffff:127.0.0.1]',
    '[::ffff:0.0.0.0]',
    '[::127.0.0.1]',
    '[64:ff9b::7f00:1]',
    '[2002:7f00:1::1]',
    '127.0.0.1',
    '127.1',
    '127.0.0.2.',
    '2130706433',
    '0x7f000001',
    '0177.1',
    '[::1]',
    'localhost',
    'localhost.',
    'a.localhost',
    '169.254.169.254',
    '0xa9fea9fe',
    '[::ffff:169.254.169.254]',
    '[fe80::1]',
    '[fe80::1%lo]',
    '[fe80::1%25lo]',
    '[ff02::1]',
    'near.test',
    'near6.test',
    'mixed.test',
    'cloud.test',
  ];
  for (const host of hosts) {
    it(`to ${host} is refused, and no connection is opened`, async () => {
      const { port, connections } = await victim();
      const registry = await serve(
        far,
        (_request, response) => void response.writeHead(307, { location: `http://${host}:${port}/` }).end(),
      );
      await assert.rejects(
        text(client(), `http://${far}:${registry}/`, { redirects: 5 }),
        (error: Error & { code?: string }) => {
          assert.match(error.code ?? '', /^HTTP_(?:BAD_REDIRECT|ADDRESS_REFUSED)$/u, error.message);
          return true;
        },
      );
      assert.equal(connections(), 0);
    });

    it(`named in an answer, ${host} is refused as well`, async () => {
      const { port, connections } = await victim();
      const url = URL.parse(`http://${host}:${port}/`);
      // The text is not an address.
      if (url === null) return;
      await assert.rejects(client().send({ url, totalMs, ledBy: new URL(`http://${far}/`) }), {
        code: 'HTTP_ADDRESS_REFUSED',
      });
      assert.equal(connections(), 0);
    });
  }

  it('to a name that resolves to another address the second time is refused (DNS rebinding)', async () => {
    const { port, connections } = await victim();
    let asked = 0;
    const lookup: LookupFunction = (_name, options, callback) => {
      const address = (asked += 1) === 1 ? far : '127.0.0.1';
      if (options.all === true) callback(null, [{ address, family: 4 }]);
      else callback(null, address, 4);
    };
    const registry = await serve(
      far,
      (_request, response) => void response.writeHead(307, { location: `http://rebind.test:${port}/` }).end(),
    );
    await assert.rejects(text(client({ lookup }), `http://rebind.test:${registry}/`, { redirects: 5 }), {
      code: 'HTTP_ADDRESS_REFUSED',
    });
    assert.deepEqual([asked, connections()], [2, 0]);
  });

  it('to an address that the resolver hides is refused on the connection itself', async () => {
    const { port } = await victim();
    // A resolver that gives one answer when asked for all addresses, while the socket connects to another
    // address.
    const lookup: LookupFunction = (_name, options, callback) => {
      const addresses = [{ address: far, family: 4 }];
      if (options.all !== true) return callback(null, far, 4);
      callback(
        null,
        new Proxy(addresses, {
          get: (target, name) => (name === Symbol.iterator ? hidden : (Reflect.get(target, name) as unknown)),
        }),
      );
    };
    function* hidden(): Generator<{ address: string; family: number }> {
      yield { address: '127.0.0.1', family: 4 };
    }
    const registry = await serve(
      far,
      (_request, response) => void response.writeHead(307, { location: `http://hidden.test:${port}/` }).end(),
    );
    await assert.rejects(text(client({ lookup }), `http://${far}:${registry}/`, { redirects: 5 }), {
      code: 'HTTP_ADDRESS_REFUSED',
    });
  });

  it('to another remote host is followed, without credentials or unknown headers', async () => {
    const seen: unknown[] = [];
    const storage = await serve(far, (request, response) => {
      const { authorization, cookie, accept, 'x-token': token } = request.headers;
      seen.push({ authorization, cookie, accept, token });
      response.end('blob');
    });
    const registry = await serve(
      far,
      (_request, response) => void response.writeHead(307, { location: `http://far.test:${storage}/` }).end(),
    );
    const headers = {
      Authorization: 'Bearer secret',
      cookie: 'a=b',
      'x-token': 'secret',
      accept: 'text/plain',
    };
    assert.equal(await text(client(), `http://${far}:${registry}/`, { redirects: 5, headers }), 'blob');
    assert.deepEqual(seen, [
      { authorization: undefined, cookie: undefined, accept: 'text/plain', token: undefined },
    ]);
  });

  it('to another remote host, and from there to loopback, is refused', async () => {
    const { port, connections } = await victim();
    const second = await serve(
      far,
      (_request, response) => void response.writeHead(302, { location: `http://near.test:${port}/` }).end(),
    );
    const first = await serve(
      far,
      (_request, response) => void response.writeHead(302, { location: `http://far.test:${second}/` }).end(),
    );
    await assert.rejects(text(client(), `http://${far}:${first}/`, { redirects: 5 }), {
      code: 'HTTP_ADDRESS_REFUSED',
    });
    assert.equal(connections(), 0);
  });
});

describe('a redirect from loopback', () => {
  it('leads to loopback, also by a name that resolves to it, and never to a metadata service', async () => {
    const one = client();
    const { port } = await victim();
    let location = '';
    const registry = await serve(
      '127.0.0.1',
      (_request, response) => void response.writeHead(302, { location }).end(),
    );
    for (const from of [`http://127.0.0.1:${registry}/`, `http://near.test:${registry}/`]) {
      for (const host of ['127.0.0.1', '0.0.0.0', 'localhost', 'near.test', '[::1]']) {
        location = `http://${host}:${port}/`;
        assert.equal(await text(one, from, { redirects: 1 }), 'secret', `${from} to ${location}`);
      }
      for (const host of ['169.254.169.254', 'cloud.test', '[fe80::1]']) {
        location = `http://${host}:${port}/`;
        await assert.rejects(text(one, from, { redirects: 1 }), /metadata service|link-local/u);
      }
    }
  });

  it('within its origin keeps credentials', async () => {
    const seen: unknown[] = [];
    const port = await serve('127.0.0.1', (request, response) => {
      seen.push(request.headers.authorization);
      if (request.url === '/') response.writeHead(301, { location: '/there#fragment' }).end();
      else response.end(request.url);
    });
    assert.equal(
      await text(client(), `http://near.test:${port}/`, { redirects: 1, headers: { authorization: 'x' } }),
      '/there',
    );
    assert.deepEqual(seen, ['x', 'x']);
  });
});

describe('a redirect', () => {
  const environment = (): Record<string, string> => ({ SSL_CERT_FILE: join(folder, 'ca.pem') });

  it('without end is followed only as often as allowed, and never if redirects are not allowed', async () => {
    let asked = 0;
    const port = await serve('127.0.0.1', (_request, response) => {
      asked += 1;
      response.writeHead(302, { location: '/' }).end();
    });
    await assert.rejects(text(client(), `http://127.0.0.1:${port}/`, { redirects: 5 }), {
      code: 'HTTP_BAD_REDIRECT',
      message: /more than 5/u,
    });
    assert.equal(asked, 6);
    assert.equal((await client().send({ url: new URL(`http://127.0.0.1:${port}/`), totalMs })).status, 302);
    assert.equal(asked, 7);
  });

  it('of a POST is not followed', async () => {
    const port = await serve(
      '127.0.0.1',
      (_request, response) => void response.writeHead(307, { location: '/' }).end(),
    );
    const request = {
      url: new URL(`http://127.0.0.1:${port}/`),
      totalMs,
      redirects: 5,
      method: 'POST',
      body: Buffer.from('x'),
    } as const;
    assert.equal((await client().send(request)).status, 307);
  });

  for (const [what, location, why] of [
    ['from https to plain HTTP', 'http://far.test/', /plain HTTP/u],
    ['to a file', 'file:///etc/passwd', /not http or https/u],
    ['to an address with a user', `https://me:secret@${far}/`, /contains a user/u],
    ['to no address', 'https://', /without a valid http or https address/u],
    ['without an address', undefined, /without a valid http or https address/u],
  ] as const) {
    it(`${what} is refused`, async () => {
      const port = await serveTls(
        far,
        (_request, response) =>
          void response.writeHead(302, location === undefined ? {} : { location }).end(),
      );
      const asked = text(client({ environment: environment() }), `https://${far}:${port}/`, { redirects: 5 });
      await assert.rejects(asked, (error: Error & { code?: string }) => {
        assert.equal(error.code, 'HTTP_BAD_REDIRECT');
        assert.match(error.message, why);
        assert.doesNotMatch(error.message, /secret/u);
        return true;
      });
    });
  }

  it('asks the caller’s rule before every request', async () => {
    const port = await serve(
      '127.0.0.1',
      (_request, response) => void response.writeHead(302, { location: '/second' }).end(),
    );
    const check = ({ pathname }: URL): void => {
      if (pathname === '/second') throw new Error('not there');
    };
    await assert.rejects(text(client(), `http://127.0.0.1:${port}/`, { redirects: 5, check }), /not there/u);
  });
});

describe('an answer', () => {
  /** Repeats a piece until the client ends the connection. */
  const endless = (head: string, piece: string) => (socket: Socket) => {
    socket.write(head);
    const more = (): void => {
      while (!socket.destroyed && socket.write(piece)) continue;
      if (!socket.destroyed) socket.once('drain', more);
    };
    more();
  };
  const slow = (head: string, piece: string) => (socket: Socket) => {
    socket.write(head);
    const timer = setInterval(() => socket.write(piece), 50);
    socket.once('close', () => clearInterval(timer));
  };
  const ok = 'HTTP/1.1 200 OK\r\n';
  const kilobytes = 'y'.repeat(8000);
  const cases: readonly (readonly [what: string, answer: (socket: Socket) => void, code: RegExp])[] = [
    ['without end', endless(`${ok}\r\n`, kilobytes), /TOO_LARGE/u],
    [
      'without end in chunks',
      endless(`${ok}transfer-encoding: chunked\r\n\r\n`, `1f40\r\n${kilobytes}\r\n`),
      /TOO_LARGE/u,
    ],
    ['with headers without end', endless(ok, `x: ${kilobytes}\r\n`), /BAD_ANSWER/u],
    ['with one header without end', endless(`${ok}x: `, kilobytes), /BAD_ANSWER/u],
    [
      'with trailers without end',
      endless(`${ok}transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n`, `x: ${kilobytes}\r\n`),
      /BAD_ANSWER/u,
    ],
    [
      'with a chunk extension without end',
      endless(`${ok}transfer-encoding: chunked\r\n\r\n1;x=`, kilobytes),
      /BAD_ANSWER|TOO_SLOW/u,
    ],
    [
      'with interim answers without end',
      endless('', 'HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n'),
      /TOO_SLOW|BAD_ANSWER/u,
    ],
    ['that never begins', () => undefined, /TOO_SLOW/u],
    ['with headers that come slowly', slow(ok, 'a'), /TOO_SLOW/u],
    ['with a body that comes slowly', slow(`${ok}content-length: 100000\r\n\r\n`, 'a'), /TOO_SLOW/u],
    [
      'that stops in the middle',
      (socket) => void socket.write(`${ok}content-length: 10\r\n\r\nabc`),
      /TOO_SLOW/u,
    ],
    [
      'shorter than its Content-Length',
      (socket) => void socket.end(`${ok}content-length: 10\r\n\r\nabc`),
      /UNREACHABLE|BAD_ANSWER/u,
    ],
    [
      'whose Content-Length is above the limit',
      (socket) => void socket.write(`${ok}content-length: 1048577\r\n\r\nabc`),
      /TOO_LARGE/u,
    ],
    [
      'with two lengths',
      (socket) => void socket.end(`${ok}content-length: 3\r\ncontent-length: 4\r\n\r\nabcd`),
      /UNREACHABLE|BAD_ANSWER/u,
    ],
    ['that is not HTTP', (socket) => void socket.end('SSH-2.0-OpenSSH_9.2\r\n'), /BAD_ANSWER/u],
    ['that breaks off', (socket) => void socket.destroy(), /UNREACHABLE/u],
  ];
  for (const [what, answer, code] of cases) {
    it(`${what} ends, with a reason`, async () => {
      const port = await serveRaw(answer);
      const one = client({ timeouts: { headers: 1000, idle: 1000 } });
      await assert.rejects(
        text(one, `http://127.0.0.1:${port}/`, { totalMs: code.source.includes('SLOW') ? 2000 : totalMs }),
        (error: Error & { code?: string }) => {
          assert.match(error.code ?? '', code, error.message);
          assert.match(error.message, new RegExp(`127.0.0.1:${port}`, 'u'));
          return true;
        },
      );
    });
  }

  it('longer than its Content-Length is cut off there', async () => {
    const port = await serveRaw(
      (socket) => void socket.end(`${ok}content-length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n\r\n`),
    );
    assert.equal(await text(client(), `http://127.0.0.1:${port}/`), 'abc');
  });

  it('that is compressed is not decompressed, and its compressed size counts', async () => {
    const bomb = gzipSync(Buffer.alloc(64 << 20));
    const port = await serve(
      '127.0.0.1',
      (_request, response) => void response.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb),
    );
    const answer = await client().send({ url: new URL(`http://127.0.0.1:${port}/`), totalMs });
    assert.equal((await answer.bytes(1 << 20)).length, bomb.length);
  });

  it('comes although an earlier request found no descriptor for the connections', async () => {
    const port = await serve('127.0.0.1', (_request, response) => void response.end('here'));
    const failures = [Object.assign(new Error('too many open files'), { code: 'EMFILE' })];
    const one = createHttpClient({
      get environment() {
        const failure = failures.shift();
        if (failure !== undefined) throw failure;
        return {};
      },
    });
    opened.push(() => one.close());
    const url = `http://127.0.0.1:${port}/`;
    await assert.rejects(text(one, url), { code: 'HTTP_UNREACHABLE' });
    assert.equal(await text(one, url), 'here');
  });

  it('never comes from a client that was closed, even while it opened its connections', async () => {
    const port = await serve('127.0.0.1', (_request, response) => void response.end('here'));
    const one = client();
    const asked = assert.rejects(text(one, `http://127.0.0.1:${port}/`), { code: 'HTTP_UNREACHABLE' });
    await one.close();
    await asked;
    await assert.rejects(text(one, `http://127.0.0.1:${port}/`), { code: 'HTTP_UNREACHABLE' });
  });

  it('ends when the caller cancels, before it begins and in the middle', async () => {
    const port = await serveRaw((socket) => void socket.write(`${ok}content-length: 10\r\n\r\nabc`));
    const abort = new AbortController();
    const answer = await client().send({
      url: new URL(`http://127.0.0.1:${port}/`),
      totalMs,
      signal: abort.signal,
    });
    const reading = answer.bytes(100);
    abort.abort();
    await assert.rejects(reading, { code: 'HTTP_CANCELLED' });
    await assert.rejects(text(client(), `http://127.0.0.1:${port}/`, { signal: abort.signal }), {
      code: 'HTTP_CANCELLED',
    });
  });

  it('of a server that keeps connections comes over a kept connection', async () => {
    const ports = new Set<number | undefined>();
    const port = await serve('127.0.0.1', (request, response) => {
      ports.add(request.socket.remotePort);
      response.end('x');
    });
    const one = client();
    for (let n = 0; n < 10; n += 1) await text(one, `http://127.0.0.1:${port}/`);
    assert.ok(ports.size <= 2, `${ports.size} connections`);
  });
});

describe('an address', () => {
  for (const url of ['file:///etc/passwd', 'ftp://127.0.0.1/', 'http://me:secret@127.0.0.1/'])
    it(`${url} is not asked`, async () => {
      await assert.rejects(
        client().send({ url: new URL(url), totalMs }),
        (error: Error & { code?: string }) => {
          assert.equal(error.code, 'HTTP_BAD_ADDRESS');
          assert.doesNotMatch(error.message, /secret/u);
          return true;
        },
      );
    });
});

describe('an authority of the system', () => {
  it('is trusted only if SSL_CERT_FILE or SSL_CERT_DIR names it', async () => {
    const port = await serveTls('127.0.0.1', (_request, response) => void response.end('x'));
    const url = `https://127.0.0.1:${port}/`;
    assert.equal(await text(client({ environment: { SSL_CERT_FILE: join(folder, 'ca.pem') } }), url), 'x');
    assert.equal(
      await text(
        client({ environment: { SSL_CERT_FILE: '/absent', SSL_CERT_DIR: `/absent:${folder}` } }),
        url,
      ),
      'x',
    );
    await assert.rejects(text(client(), url), { code: 'HTTP_UNREACHABLE' });
  });

  it('is trusted in addition to the authorities of one host, unless only these are allowed', async () => {
    const port = await serveTls('127.0.0.1', (_request, response) => void response.end('x'));
    const one = client({ environment: { SSL_CERT_FILE: join(folder, 'ca.pem') } });
    const other = readFileSync(makeCertificate(folder, 'other').certificate, 'utf8');
    const url = `https://127.0.0.1:${port}/`;
    assert.equal(await text(one, url, { tls: () => Promise.resolve({ id: 'beside', ca: [other] }) }), 'x');
    await assert.rejects(
      text(one, url, { tls: () => Promise.resolve({ id: 'only', ca: [other], only: true }) }),
      {
        code: 'HTTP_UNREACHABLE',
      },
    );
  });
});

describe('a proxy of the environment', () => {
  interface Seen {
    readonly asked: string;
    readonly authorization: string | undefined;
  }

  /** A proxy that tunnels, and forwards plain HTTP. */
  async function startProxy(status = 200): Promise<{ readonly address: string; readonly seen: Seen[] }> {
    const seen: Seen[] = [];
    const { connect } = await import('node:net');
    const server = createHttpServer((request, response) => {
      seen.push({
        asked: `${request.method} ${request.url}`,
        authorization: request.headers['proxy-authorization'],
      });
      if (status === 200) response.end('by the proxy');
      else response.writeHead(status).end();
    });
    server.on('connect', (request, socket: Socket) => {
      seen.push({ asked: `CONNECT ${request.url}`, authorization: request.headers['proxy-authorization'] });
      if (status !== 200) return void socket.end(`HTTP/1.1 ${status} No\r\n\r\n`);
      const [host = '', port = ''] = (request.url ?? '').split(':');
      const target = connect(Number(port), host, () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        socket.pipe(target).pipe(socket);
      });
      opened.push(() => void target.destroy());
      target.on('error', () => socket.destroy());
    });
    return { address: `127.0.0.1:${await listen(server, '127.0.0.1')}`, seen };
  }

  it('tunnels https and forwards plain HTTP, and only the proxy gets its password', async () => {
    const proxy = await startProxy();
    const headers: unknown[] = [];
    const port = await serveTls(far, (request, response) => {
      headers.push(request.headers['proxy-authorization']);
      response.end('through the tunnel');
    });
    const address = `http://me:secret@${proxy.address}`;
    const one = client({
      environment: { HTTPS_PROXY: address, http_proxy: address, SSL_CERT_FILE: join(folder, 'ca.pem') },
    });
    assert.equal(await text(one, `https://${far}:${port}/`), 'through the tunnel');
    assert.equal(await text(one, 'http://far.test:1/path?query'), 'by the proxy');
    const authorization = `Basic ${Buffer.from('me:secret').toString('base64')}`;
    assert.deepEqual(proxy.seen, [
      { asked: `CONNECT ${far}:${port}`, authorization },
      { asked: 'GET http://far.test:1/path?query', authorization },
    ]);
    assert.deepEqual(headers, [undefined]);
  });

  it('is not used for hosts in NO_PROXY or for loopback', async () => {
    const proxy = await startProxy();
    const elsewhere = await serve(far, (_request, response) => void response.end('direct'));
    const own = await serve('127.0.0.1', (_request, response) => void response.end('own'));
    for (const noProxy of ['203.0.113.0/24', far, `${far}:${elsewhere}`, '*']) {
      const one = client({ environment: { HTTP_PROXY: proxy.address, NO_PROXY: noProxy } });
      assert.equal(await text(one, `http://${far}:${elsewhere}/`), 'direct');
    }
    assert.equal(
      await text(client({ environment: { HTTP_PROXY: proxy.address } }), `http://127.0.0.1:${own}/`),
      'own',
    );
    assert.deepEqual(proxy.seen, []);
  });

  it('does not circumvent the rule on redirects', async () => {
    const proxy = await startProxy();
    const { port, connections } = await victim();
    const registry = await serveTls(
      far,
      (request, response) => void response.writeHead(302, { location: String(request.headers.accept) }).end(),
    );
    const environment = {
      HTTPS_PROXY: proxy.address,
      HTTP_PROXY: proxy.address,
      SSL_CERT_FILE: join(folder, 'ca.pem'),
      NO_PROXY: 'near.test',
    };
    const one = client({ environment });
    for (const host of [
      '127.0.0.1',
      '[::ffff:7f00:1]',
      '0.0.0.0',
      'localhost.',
      '169.254.169.254',
      'near.test',
    ]) {
      const headers = { accept: `https://${host}:${port}/` };
      await assert.rejects(
        text(one, `https://${far}:${registry}/`, { redirects: 5, headers }),
        { kind: 'denied' },
        host,
      );
    }
    assert.equal(connections(), 0);
  });

  for (const status of [403, 407, 502]) {
    it(`that answers ${status} is named, without its password`, async () => {
      const proxy = await startProxy(status);
      const one = client({ environment: { HTTPS_PROXY: `http://me:secret@${proxy.address}` } });
      await assert.rejects(text(one, `https://${far}:1/`), (error: Error & { code?: string }) => {
        assert.equal(error.code, 'HTTP_BAD_PROXY', error.message);
        assert.match(error.message, new RegExp(String(status), 'u'));
        assert.doesNotMatch(JSON.stringify([error.message, error.stack, error]), /secret|bWU6c2VjcmV0/u);
        return true;
      });
    });
  }

  it('that cannot be reached is named, and not the server', async () => {
    const closed = createTcpServer();
    const port = await listen(closed, '127.0.0.1');
    await new Promise((resolve) => closed.close(resolve));
    const address = `http://me:secret@127.0.0.1:${port}`;
    const one = client({ environment: { HTTPS_PROXY: address, HTTP_PROXY: address } });
    for (const url of [`https://${far}:1/`, `http://${far}:1/`])
      await assert.rejects(text(one, url), (error: Error & { code?: string }) => {
        assert.equal(error.code, 'HTTP_UNREACHABLE');
        assert.ok(
          error.message.includes(`the proxy 127.0.0.1:${port}: nothing listens there`),
          error.message,
        );
        assert.doesNotMatch(JSON.stringify([error.message, error]), /secret/u);
        return true;
      });
  });

  it('that accepts connections and never answers is given up', async () => {
    const silent = await listen(createTcpServer(), '127.0.0.1');
    const one = client({
      environment: { HTTPS_PROXY: `http://127.0.0.1:${silent}` },
      timeouts: { connect: 500 },
    });
    await assert.rejects(text(one, `https://${far}:1/`, { totalMs: 5000 }), { code: 'HTTP_TOO_SLOW' });
  });
});
