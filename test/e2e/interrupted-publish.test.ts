import assert from 'node:assert/strict';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createHttpServer } from '../../base/connections/index.ts';
import { startTrustService } from '../../trust/notary/index.ts';
import { portcullis } from '../fixtures/command.ts';
import type { Ended } from '../fixtures/command.ts';
import { unencryptedKeys } from '../fixtures/unencrypted-keys.ts';

type Role = keyof ReturnType<typeof unencryptedKeys>['keys'];

/** Publishes whose answer is lost, that fail at the second of two places, or that others overtake. */
describe('an interrupted publish', () => {
  const home = mkdtempSync(join(tmpdir(), 'portcullis-interrupted-'));
  let service: Awaited<ReturnType<typeof startTrustService>>;
  let lossy: Server;
  let address = '';
  /** The fate of the next publish. */
  let next: 'pass' | 'lose the answer' | number = 'pass';
  const run = (...words: string[]): Promise<Ended> =>
    portcullis(['trust', ...words], {
      ...process.env,
      HOME: home,
      PORTCULLIS_TRUST_DIR: join(home, 'trust'),
      PORTCULLIS_PASSPHRASE: 'correct horse',
    });
  const trust = async (...words: string[]): Promise<string> => {
    const { code, output } = await run(...words);
    assert.equal(code, 0, output);
    return output;
  };
  const file = join(home, 'file');
  const { signers, keys } = unencryptedKeys(join(home, 'unencrypted'));
  const signing = signers.flatMap((key) => ['--key', key]);
  /** Creates a collection with unencrypted keys. The service has its own keys of snapshot and timestamp. */
  const init = (name: string, ...places: readonly string[]): Promise<string> => {
    const roles = places.includes(address) ? (['root', 'targets'] as const) : (Object.keys(keys) as Role[]);
    const given = roles.flatMap((role) => ['--role-key', `${role}=${keys[role].files.join()}`]);
    return trust('init', name, ...places.flatMap((place) => ['--to', place]), ...given);
  };
  const publish = (name: string, ...words: string[]): Promise<string> =>
    trust('publish', name, ...signing, ...words);

  before(async () => {
    writeFileSync(file, 'content');
    service = await startTrustService({ listen: '127.0.0.1:0', data: join(home, 'service') });
    const pass = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const isPublish = request.method === 'POST';
      if (isPublish && typeof next === 'number') return void response.writeHead(next).end();
      const answer = await fetch(`${service.url}${request.url ?? ''}`, {
        method: request.method ?? 'GET',
        headers: { 'content-type': request.headers['content-type'] ?? '' },
        ...(isPublish ? { body: Buffer.concat(chunks) } : {}),
      });
      const bytes = Buffer.from(await answer.arrayBuffer());
      if (isPublish && next === 'lose the answer') return void request.socket.destroy();
      response.writeHead(answer.status).end(bytes);
    };
    lossy = createHttpServer((request, response) => void pass(request, response));
    lossy.listen(0, '127.0.0.1');
    await new Promise((resolve) => lossy.once('listening', resolve));
    address = `http://127.0.0.1:${(lossy.address() as AddressInfo).port}`;
  });
  after(async () => {
    lossy.closeAllConnections();
    await new Promise((resolve) => lossy.close(resolve));
    await service.close();
    rmSync(home, { recursive: true });
  });

  const losing = async (name: string): Promise<void> => {
    next = 'lose the answer';
    const { code, output } = await run('publish', name, ...signing);
    next = 'pass';
    assert.equal(code, 3, output);
    assert.match(output, /TRUST_TUF_UNREACHABLE/u);
  };

  it('goes on after the lost answer to the first publish, with what was staged since then', async () => {
    await init('lost/first', address);
    await trust('add', 'lost/first', 'one', file);
    await losing('lost/first');
    await trust('add', 'lost/first', 'two', file);
    const published = await publish('lost/first');
    assert.match(published, /signed targets version 2 \(notary\)\nsigned targets version 2 \(tuf\)/u);
    assert.doesNotMatch(published, /root/u);
    assert.match(await trust('list', 'lost/first'), /^one .*\ntwo .*$/mu);
  });

  it('takes its own lost publish for nobody else’s, and signs nothing again', async () => {
    await init('lost/second', address);
    await trust('add', 'lost/second', 'one', file);
    await trust('add', 'lost/second', 'two', file);
    await publish('lost/second');
    await trust('remove', 'lost/second', 'one');
    await losing('lost/second');
    assert.match(await publish('lost/second'), /everything is published already/u);
    assert.doesNotMatch(await trust('list', 'lost/second'), /^one/mu);
  });

  for (const status of [429, 500, 503])
    it(`is tried again after ${status}: the service has not refused it`, async () => {
      const name = `answer/${status}`;
      await init(name, address);
      next = status;
      const { code, output } = await run('publish', name, ...signing);
      next = 'pass';
      assert.match(output, /\[TRUST_TUF_UNREACHABLE\]/u);
      assert.equal(code, 3);
      await publish(name);
    });

  it('brings the same first root to the second place, when that place works again', async () => {
    const [one, two] = [join(home, 'one'), join(home, 'two')];
    await init('places', one, two);
    // The second place takes the first files, and then no more.
    mkdirSync(join(two, '1.snapshot.json'), { recursive: true });
    assert.notEqual((await run('publish', 'places', ...signing)).code, 0);
    const first = readFileSync(join(one, '1.root.json'));
    rmSync(join(two, '1.snapshot.json'), { recursive: true });
    await publish('places');
    assert.deepEqual(readFileSync(join(one, '1.root.json')), first);
    assert.deepEqual(readFileSync(join(two, '1.root.json')), first);
    assert.ok(existsSync(join(two, 'timestamp.json')));
  });

  it('completes new keys at a place that got only the root, and at another place that got everything', async () => {
    const [one, two] = [join(home, 'keys-one'), join(home, 'keys-two')];
    await trust('init', 'keys', '--to', one, '--to', two);
    await trust('publish', 'keys');
    for (const role of ['timestamp', 'snapshot', 'targets']) await trust('rotate', 'keys', role);
    mkdirSync(join(two, '2.targets.json'));
    assert.notEqual((await run('publish', 'keys')).code, 0);
    rmSync(join(two, '2.targets.json'), { recursive: true });
    // A publish is killed after the root, which earlier versions wrote first.
    cpSync(join(one, '2.root.json'), join(two, '2.root.json'));
    assert.match(await trust('publish', 'keys'), /everything is published already/u);
    for (const name of readdirSync(one))
      assert.deepEqual(readFileSync(join(two, name)), readFileSync(join(one, name)), name);
    await trust('add', 'keys', 'one', file);
    await trust('publish', 'keys');
  });

  it('never replaces the collection of another owner', async () => {
    const place = join(home, 'occupied');
    await init('mine', place);
    await publish('mine');
    const root = readFileSync(join(place, '1.root.json'));
    await trust('init', 'other', '--to', place);
    const { code, output } = await run('publish', 'other');
    assert.match(output, /another collection is published there.*\[TRUST_AUTHOR_OCCUPIED\]/u);
    assert.equal(code, 4);
    assert.deepEqual(readFileSync(join(place, '1.root.json')), root);
  });

  it('counts the removal of what another publisher has removed as done', async () => {
    const place = join(home, 'shared');
    const other = ['--dir', join(home, 'other')];
    await init('shared', place);
    for (const target of ['one', 'two']) await trust('add', 'shared', target, file);
    await publish('shared');
    cpSync(join(home, 'trust'), join(home, 'other'), { recursive: true });
    await trust('remove', 'shared', 'one', ...other);
    await trust('remove', 'shared', 'one');
    await publish('shared');
    assert.match(await publish('shared', ...other), /everything is published already/u);
    const { code, output } = await run('remove', 'shared', 'one', ...other);
    assert.match(output, /\[TRUST_AUTHOR_NO_TARGET\]/u, 'a wrong name is still reported when it is staged');
    assert.equal(code, 2);
  });

  it('is not blocked by changes for a role that was revoked meanwhile', async () => {
    const place = join(home, 'revoked');
    const other = ['--dir', join(home, 'delegate')];
    await portcullis(['sign', '--generate-key', join(home, 'delegated')], {
      ...process.env,
      PORTCULLIS_PASSPHRASE: 'correct horse',
    });
    await init('revoked', place);
    const key = ['--role-key', join(home, 'delegated.pub')];
    await trust('delegate', 'add', 'revoked', 'targets/x', '--all-paths', ...key);
    await publish('revoked', '--key', join(home, 'delegated.key'));
    cpSync(join(home, 'trust'), join(home, 'delegate'), { recursive: true });
    await trust('add', 'revoked', 'one', file, '--role', 'targets/x', ...other);
    await trust('delegate', 'remove', 'revoked', 'targets/x');
    await publish('revoked');
    const { code, output } = await run('publish', 'revoked', ...signing, ...other);
    assert.match(output, /trust unstage \[TRUST_AUTHOR_NO_ROLE\]/u);
    assert.equal(code, 2);
    assert.match(await trust('unstage', 'revoked', '--role', 'targets/y', ...other), /nothing of this/u);
    assert.equal(await trust('unstage', 'revoked', '--role', 'targets/x', ...other), 'taken back: add one\n');
    await publish('revoked', ...other);
  });
});
