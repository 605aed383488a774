import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { queryObjects } from 'node:v8';
import { makeCertificate } from '../../test/fixtures/certificate.ts';
import { fileOf } from '../tuf/fixtures/repository.fixture.ts';
import { fetchJson, multipart, multipartType, post, publisher } from './publisher.fixture.ts';
import type { OnlineEntries } from './publisher.fixture.ts';
import { startTrustService } from './trust-service.ts';
import type { TrustService, TrustServiceOptions } from './trust-service.ts';

/**
 * Tests of the service with connections that send nothing, send slowly, or never end, from several loopback
 * addresses.
 */

let folder: string;
let service: TrustService;
const open: { readonly socket: Socket; readonly text: () => string; readonly isOpen: () => boolean }[] = [];

const start = async (options: Partial<TrustServiceOptions>): Promise<void> => {
  service = await startTrustService({
    listen: '127.0.0.1:0',
    data: join(folder, String(Math.random())),
    ...options,
  });
};

/**
 * Opens a connection and sends `text`.
 * @param from the address to connect from
 */
async function come(from: string, text: string): Promise<(typeof open)[number]> {
  const { port } = new URL(service.url);
  const socket = connect({ port: Number(port), host: '127.0.0.1', localAddress: from });
  let received = '';
  let closed = false;
  socket.on('data', (chunk: Buffer) => (received += chunk.toString('latin1')));
  socket.on('error', () => undefined);
  socket.on('close', () => (closed = true));
  await new Promise((resolve) => socket.once('connect', resolve).once('close', resolve));
  socket.write(text);
  const one = { socket, text: () => received, isOpen: () => !closed };
  open.push(one);
  return one;
}

async function until(what: () => boolean | Promise<boolean>, why: string): Promise<void> {
  for (let waited = 0; !(await what()); waited += 5) {
    assert.ok(waited < 60_000, why);
    await pause(5);
  }
}

const health = 'GET /_notary_server/health HTTP/1.1\r\nHost: a\r\n\r\n';
const half = 'GET /_notary_server/health HTTP/1.1\r\nHost: ';

async function isAnswered(from: string): Promise<void> {
  const client = await come(from, health.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'));
  await until(() => client.text().endsWith('{}') || !client.isOpen(), 'neither an answer nor an end');
  assert.match(client.text(), /^HTTP\/1\.1 200 /u, `a client at ${from}`);
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'portcullis-connections-'));
});
afterEach(async () => {
  for (const { socket } of open.splice(0)) socket.destroy();
  await service.close();
  rmSync(folder, { recursive: true, force: true });
});

describe('connections of the trust service', () => {
  it('that occupy every place with incomplete requests do not lock out other clients', async () => {
    await start({ connections: 40, connectionsOfAddress: 10 });
    for (let address = 2; address < 8; address += 1)
      for (let count = 0; count < 20; count += 1) await come(`127.0.0.${address}`, half);
    await until(() => open.filter(({ isOpen }) => isOpen()).length <= 40, 'no more than the limit stay');
    for (let count = 0; count < 20; count += 1) await isAnswered('127.0.0.99');
    // A client among those that fill the service is still answered: its own oldest connection gives way.
    await isAnswered('127.0.0.2');
  });

  it('that are idle give way to a peer that holds fewer', async () => {
    await start({ connections: 8, connectionsOfAddress: 8 });
    for (let count = 0; count < 8; count += 1) await come('127.0.0.2', health);
    await until(() => open.every(({ text }) => text().endsWith('{}')), 'each is answered');
    await isAnswered('127.0.0.3');
    assert.equal(
      open.filter(({ isOpen }) => !isOpen()).length,
      2,
      'the newcomer, which has closed, and the one that gave way',
    );
    assert.match(
      await (await fetch(`${service.url}/metrics`)).text(),
      /portcullis_trust_connections_refused\{reason="waiting"\} [12]\n/u,
    );
  });

  it('that send an upload slowly give way as well', async () => {
    await start({ connections: 6, connectionsOfAddress: 6 });
    const slow = `POST /tuf/a/ HTTP/1.1\r\nHost: a\r\nContent-Type: ${multipartType}\r\nContent-Length: 1000\r\n\r\n--`;
    for (let count = 0; count < 6; count += 1) await come('127.0.0.2', slow);
    await pause(100);
    for (let count = 0; count < 10; count += 1) await isAnswered('127.0.0.3');
  });

  it('that do not read their answers give way as well', async () => {
    await start({ connections: 6, connectionsOfAddress: 6 });
    for (let count = 0; count < 6; count += 1)
      (await come('127.0.0.2', '')).socket.pause().write(health.repeat(30));
    await pause(300);
    for (let count = 0; count < 10; count += 1) await isAnswered('127.0.0.3');
  });

  it('that send very many requests before they read are cut off, and their requests are not answered', async () => {
    await start({});
    const greedy = await come('127.0.0.2', '');
    greedy.socket.pause().write(health.repeat(5_000));
    await pause(100);
    greedy.socket.resume();
    await until(() => !greedy.isOpen(), 'it is cut off');
    assert.ok(greedy.text().split('HTTP/1.1 200').length <= 33);
    await isAnswered('127.0.0.2');
  });

  it('over TLS are bounded before their handshake', async () => {
    const made = makeCertificate(folder, 'localhost');
    await start({
      connections: 6,
      connectionsOfAddress: 3,
      tls: { certificate: readFileSync(made.certificate, 'utf8'), key: readFileSync(made.key, 'utf8') },
    });
    for (let address = 2; address < 5; address += 1)
      for (let count = 0; count < 5; count += 1) await come(`127.0.0.${address}`, '');
    await until(() => open.filter(({ isOpen }) => isOpen()).length <= 6, 'no more than the limit stay');
    const { port } = new URL(service.url);
    for (let count = 0; count < 10; count += 1) {
      const socket = connectTls({
        port: Number(port),
        host: '127.0.0.1',
        rejectUnauthorized: false,
        localAddress: '127.0.0.9',
      } as object);
      let text = '';
      socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
      socket.on('error', () => undefined);
      socket.write(health.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'));
      await new Promise((resolve) => socket.once('close', resolve));
      assert.match(text, /^HTTP\/1\.1 200 /u);
    }
  });

  it('release their file descriptors', async () => {
    await start({ connections: 50, connectionsOfAddress: 50 });
    await isAnswered('127.0.0.2');
    const before = readdirSync('/proc/self/fd').length;
    for (let count = 0; count < 200; count += 1) await come('127.0.0.2', half);
    for (const { socket } of open) socket.destroy();
    await until(() => readdirSync('/proc/self/fd').length <= before, 'descriptors are as many as before');
  });
});

describe('uploads of the trust service', () => {
  it('of one address hold no more memory than three of the largest, and leave some to other addresses', async () => {
    await start({ uploadBytes: 64 * 1024 });
    const begin = async (from: string, size: number, missing: number): Promise<(typeof open)[number]> => {
      const body = multipart([{ name: 'root', bytes: Buffer.alloc(size) }]);
      const head = `POST /tuf/a/ HTTP/1.1\r\nHost: a\r\nContent-Type: ${multipartType}\r\nContent-Length: ${body.length}\r\n\r\n`;
      const upload = await come(from, head);
      upload.socket.write(body.subarray(0, body.length - missing));
      return upload;
    };
    const answer = async (from: string, size: number): Promise<string> => {
      const upload = await begin(from, size, 0);
      await until(() => upload.text() !== '', 'it is answered');
      return upload.text().slice('HTTP/1.1 '.length, 'HTTP/1.1 '.length + 3);
    };
    for (let count = 0; count < 3; count += 1) await begin('127.0.0.2', 60 * 1024, 100);
    await until(async () => (await answer('127.0.0.2', 20 * 1024)) === '503', 'the uploads have arrived');
    assert.equal(await answer('127.0.0.3', 40 * 1024), '400', 'another address has room');
    assert.equal(await answer('127.0.0.3', 60 * 1024), '503');
    for (const { socket } of open) socket.destroy();
    await until(async () => (await answer('127.0.0.3', 60 * 1024)) === '400', 'the memory is free again');
  });

  it('that come in pieces of one byte take little memory, and names of parts count as well', async () => {
    await start({ uploadBytes: 1024 * 1024 });
    const head = `POST /tuf/a/ HTTP/1.1\r\nHost: a\r\nContent-Type: ${multipartType}\r\nTransfer-Encoding: chunked\r\n\r\n`;
    const part = multipart([{ name: 'root', bytes: '' }]);
    const begun = part.subarray(0, part.indexOf('\r\n\r\n') + 4);
    const { socket, text } = await come('127.0.0.2', head);
    socket.write(`${begun.length.toString(16)}\r\n${begun.toString()}\r\n`);
    const before = Number(queryObjects(Buffer));
    for (let sent = 0; sent < 100_000; sent += 10_000)
      await new Promise((resolve) => socket.write('1\r\nX\r\n'.repeat(10_000), resolve));
    await isAnswered('127.0.0.3');
    const held = Number(queryObjects(Buffer)) - before;
    assert.ok(held < 10_000, `${held} buffers`);
    assert.equal(text(), '');
    const name = 'a'.repeat(60_000);
    const names = multipart(Array.from({ length: 20 }, () => ({ name, bytes: '' })));
    const { socket: other, text: answer } = await come('127.0.0.2', head);
    other.write(`${names.length.toString(16)}\r\n${names.toString()}\r\n0\r\n\r\n`);
    await until(() => answer() !== '', 'it is answered');
    assert.match(answer(), /MALFORMED_UPLOAD/u);
  });
});

describe('earlier versions', () => {
  it('that an address does not read take a limited part of the memory, and others can still read them', async () => {
    await start({ uploadBytes: 8 * 1024 * 1024 });
    const gun = 'example.com/app';
    const address = `${service.url}/v2/${gun}/_trust/tuf/`;
    const owner = publisher(gun);
    const online: OnlineEntries = {
      snapshot: await fetchJson(`${address}snapshot.key`),
      timestamp: await fetchJson(`${address}timestamp.key`),
    };
    const custom = { padding: 'a'.repeat(6 * 1024 * 1024) };
    const targets = { large: { ...fileOf('notary', Buffer.from('content')), custom } };
    const large = owner.targets(1, {}, { targets });
    const first = [
      { name: 'root', bytes: owner.root(1, online) },
      { name: 'targets', bytes: large },
    ];
    assert.equal((await post(address, multipart(first))).status, 200);
    const second = multipart([{ name: 'targets', bytes: owner.targets(2) }]);
    assert.equal((await post(address, second)).status, 200);
    const path = `/v2/${gun}/_trust/tuf/1.targets.json`;
    const ask = async (from: string): Promise<(typeof open)[number]> =>
      come(from, `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    for (let count = 0; count < 9; count += 1) (await ask('127.0.0.2')).socket.pause();
    await until(async () => {
      const one = await ask('127.0.0.2');
      await until(() => one.text() !== '', 'it is answered');
      one.socket.destroy();
      return one.text().startsWith('HTTP/1.1 503 ');
    }, 'the address has no memory left');
    const other = await ask('127.0.0.3');
    await until(() => !other.isOpen(), 'it is answered');
    assert.ok(other.text().endsWith(large.toString('latin1')), other.text().slice(0, 200));
    for (const { socket } of open) socket.destroy();
    await until(async () => (await fetch(`${service.url}${path}`)).ok, 'the memory is free again');
  });
});
