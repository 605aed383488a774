import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import fc from 'fast-check';
import { httpRequest } from '../../base/connections/index.ts';
import { later, signed, testKey } from '../tuf/fixtures/repository.fixture.ts';
import {
  certifiedKey,
  fetchJson,
  multipart,
  multipartType,
  post,
  publisher,
  sha256,
  targetsOf,
} from './publisher.fixture.ts';
import type { OnlineEntries, Publisher } from './publisher.fixture.ts';
import { startTrustService } from './trust-service.ts';
import type { TrustService } from './trust-service.ts';

const day = 24 * 3600 * 1000;
let now = Date.parse('2027-01-01T00:00:00Z');
let folder: string;
let service: TrustService;
let count = 0;
let gun: string;
let address: string;
let online: OnlineEntries;
let owner: Publisher;

const owners = new Map<string, Publisher>();

/** Certificates take time to make, so the collections of the tests share a few names. */
async function begin(): Promise<void> {
  count += 1;
  gun = `example.com/app-${count % 4}`;
  address = `${service.url}/v2/${gun}/_trust/tuf/`;
  await fetch(address, { method: 'DELETE' });
  online = {
    snapshot: await fetchJson(`${address}snapshot.key`),
    timestamp: await fetchJson(`${address}timestamp.key`),
  };
  owner = owners.get(gun) ?? publisher(gun);
  owners.set(gun, owner);
}

const first = (): Promise<{ status: number }> =>
  post(
    address,
    multipart([
      { name: 'root', bytes: owner.root(1, online) },
      { name: 'targets', bytes: owner.targets(1, { v1: 'one' }) },
    ]),
  );

interface File {
  readonly signed: {
    readonly version: number;
    readonly expires: string;
    readonly meta: Record<string, { length: number; hashes: Record<string, string> }>;
  };
}

const read = (name: string): Promise<File> => fetchJson<File>(`${address}${name}.json`);

/** Returns everything that readers of a collection can see. */
async function state(): Promise<string> {
  const names = ['root', 'targets', 'snapshot', 'timestamp', 'targets/releases'];
  const files = await Promise.all(names.map(async (name) => (await fetch(`${address}${name}.json`)).text()));
  return [...files, await (await fetch(`${service.url}/v2/_trust/changefeed?records=-1`)).text()].join('\n');
}

describe('the trust service in Notary’s dialect', () => {
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-trust-service-'));
    service = await startTrustService({
      listen: '127.0.0.1:0',
      data: folder,
      clock: () => now,
      uploadBytes: 8 * 1024 * 1024,
    });
  });
  after(async () => {
    await service.close();
    rmSync(folder, { recursive: true, force: true });
  });
  beforeEach(begin);

  it('serves the bytes that were posted, by role, digest and version, with Notary’s headers', async () => {
    const [root, targets] = [
      Buffer.concat([owner.root(1, online), Buffer.from('\n')]),
      owner.targets(1, { v1: 'one' }),
    ];
    assert.deepEqual(
      await post(
        address,
        multipart([
          { name: 'root.json', bytes: root },
          { name: 'targets', bytes: targets },
        ]),
      ),
      {
        status: 200,
        code: undefined,
        detail: undefined,
      },
    );
    const sha512 = createHash('sha512').update(root).digest('hex');
    for (const name of ['root', `root.${sha256(root)}`, `root.${sha512}`, '1.root']) {
      const answer = await fetch(`${address}${name}.json`);
      assert.equal(answer.status, 200, name);
      assert.ok(Buffer.from(await answer.arrayBuffer()).equals(root), name);
      const age =
        name === 'root' ? 'max-age=300, s-maxage=300, must-revalidate' : 'max-age=2592000, s-maxage=2592000';
      assert.equal(answer.headers.get('cache-control'), `public, ${age}`);
      assert.equal(answer.headers.get('last-modified'), 'Fri, 01 Jan 2027 00:00:00 UTC');
    }
    const snapshot = await read('snapshot');
    assert.deepEqual(Object.keys(snapshot.signed.meta).sort(), ['root', 'targets']);
    assert.equal(
      snapshot.signed.meta['root']?.hashes['sha256'],
      Buffer.from(sha256(root), 'hex').toString('base64'),
    );
    for (const missing of ['2.root', `root.${sha256(targets)}`, 'targets/nobody']) {
      const answer = await fetch(`${address}${missing}.json`);
      assert.equal(answer.status, 404);
      assert.equal(
        await answer.text(),
        '{"errors":[{"code":"METADATA_NOT_FOUND","message":"You have requested metadata that does not exist.","detail":{}}]}\n',
      );
    }
  });

  it('keeps versions, and refuses an update when a newer version exists', async () => {
    assert.equal((await first()).status, 200);
    assert.equal(
      (await post(address, multipart([{ name: 'targets', bytes: owner.targets(2, { v1: 'two' }) }]))).status,
      200,
    );
    const before = await state();
    for (const version of [1, 2]) {
      const { status, code } = await post(
        address,
        multipart([{ name: 'targets', bytes: owner.targets(version, { v1: 'three' }) }]),
      );
      assert.deepEqual([status, code], [400, 'VERSION']);
    }
    assert.equal(await state(), before);
    assert.deepEqual(
      [(await read('1.targets')).signed.version, (await read('targets')).signed.version],
      [1, 2],
    );
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, index) =>
        post(address, multipart([{ name: 'targets', bytes: owner.targets(3, { v1: `race ${index}` }) }])),
      ),
    );
    assert.deepEqual(answers.map(({ status }) => status).sort(), [
      200,
      ...Array.from({ length: 9 }, () => 400),
    ]);
    assert.equal((await read('timestamp')).signed.version, 3);
  });

  it('accepts a root that both the old and the new keys have signed, and no other', async () => {
    await first();
    const heir = certifiedKey(gun);
    const before = await state();
    const refused: [string, Buffer][] = [
      [
        'failed to validate data with current trusted certificates',
        owner.root(2, online, { rootKeys: [heir], signers: [heir] }),
      ],
      [
        'failed to validate integrity of roots',
        owner.root(2, online, { rootKeys: [heir], signers: [owner.rootKey] }),
      ],
      ['must increment the version. Current 1, new 3', owner.root(3, online)],
      [
        'unable to retrieve valid leaf certificates',
        owner.root(2, online, { rootKeys: [certifiedKey('example.com/other')] }),
      ],
      [
        'unable to retrieve valid leaf certificates',
        owner.root(2, online, { rootKeys: [testKey('notary', 'ecdsa')] }),
      ],
      ['root expired', owner.root(2, online, { body: { expires: '2020-01-01T00:00:00Z' } })],
      ['expected type Root', owner.root(2, online, { body: { _type: 'root' } })],
    ];
    for (const [why, bytes] of refused) {
      const { code, detail } = await post(address, multipart([{ name: 'root', bytes }]));
      assert.equal(code, 'INVALID_UPDATE');
      const { Name, Error: error } = detail as { Name: string; Error: { Msg: string } };
      assert.equal(Name, 'ErrBadRoot');
      assert.ok(error.Msg.includes(why), `${error.Msg}: ${why}`);
    }
    assert.equal(await state(), before);
    const next = owner.root(2, online, { rootKeys: [heir], signers: [owner.rootKey, heir] });
    assert.equal((await post(address, multipart([{ name: 'root', bytes: next }]))).status, 200);
    assert.equal((await read('snapshot')).signed.version, 2);
  });

  it('lets delegated roles publish for themselves, but only under their parent', async () => {
    await first();
    const key = testKey('notary', 'ecdsa');
    const role = (name: string): object => ({ name, keyids: [key.id], threshold: 1, paths: [''] });
    const delegations = (name: string): object => ({
      delegations: { keys: { [key.id]: key.entry }, roles: [role(name)] },
    });
    const release = (version: number): Buffer => signed('notary', targetsOf(version, { v2: 'two' }), [key]);
    assert.equal(
      (
        await post(
          address,
          multipart([{ name: 'targets', bytes: owner.targets(2, {}, delegations('targets/releases')) }]),
        )
      ).status,
      200,
    );
    assert.equal(
      (await post(address, multipart([{ name: 'targets/releases', bytes: release(1) }]))).status,
      200,
    );
    assert.deepEqual(Object.keys((await read('snapshot')).signed.meta).sort(), [
      'root',
      'targets',
      'targets/releases',
    ]);
    const before = await state();
    for (const [name, bytes] of [
      ['targets/releases', signed('notary', targetsOf(2, {}), [testKey('notary')])],
      ['targets/other', release(1)],
      ['targets/releases/deep', release(1)],
      ['targets', owner.targets(3, {}, delegations('targets/a/b'))],
      ['targets', owner.targets(3, {}, delegations('elsewhere'))],
    ] as const) {
      const { code, detail } = await post(address, multipart([{ name, bytes }]));
      assert.deepEqual([code, (detail as { Name: string }).Name], ['INVALID_UPDATE', 'ErrBadTargets'], name);
    }
    assert.equal(await state(), before);
  });

  it('accepts the publisher’s snapshot, and requires one when it does not hold the key', async () => {
    const key = testKey('notary', 'ecdsa');
    const own = { ...online, snapshot: key.entry as OnlineEntries['snapshot'] };
    const [root, targets] = [owner.root(1, own), owner.targets(1, { v1: 'one' })];
    const parts = [
      { name: 'root', bytes: root },
      { name: 'targets', bytes: targets },
    ];
    const lacking = await post(address, multipart(parts));
    assert.deepEqual(lacking.detail, {
      Name: 'ErrBadHierarchy',
      Error: {
        Missing: 'snapshot',
        Msg: 'no snapshot was included in update and server does not hold current snapshot key for repository',
      },
    });
    const file = (bytes: Buffer): object => ({
      length: bytes.length,
      hashes: { sha256: createHash('sha256').update(bytes).digest('base64') },
    });
    const snapshot = (meta: object): Buffer =>
      signed('notary', { _type: 'Snapshot', version: 1, expires: later, meta }, [key]);
    for (const meta of [
      { root: file(root) },
      { root: file(root), targets: file(root) },
      { root: file(root), targets: file(targets), 'targets/lost': file(root) },
      { root: { ...file(root), length: 1 }, targets: file(targets) },
    ]) {
      const { detail } = await post(
        address,
        multipart([...parts, { name: 'snapshot', bytes: snapshot(meta) }]),
      );
      assert.equal((detail as { Name: string }).Name, 'ErrBadSnapshot', JSON.stringify(meta));
    }
    assert.equal((await fetch(`${address}root.json`)).status, 404);
    const good = snapshot({ root: file(root), targets: file(targets) });
    assert.equal((await post(address, multipart([...parts, { name: 'snapshot', bytes: good }]))).status, 200);
  });

  it('returns the same key until it is rotated, and signs with the key that the root names', async () => {
    assert.deepEqual(await fetchJson(`${address}timestamp.key`), online.timestamp);
    await first();
    const fresh = await fetchJson<OnlineEntries['timestamp']>(`${address}timestamp.key`, 'POST');
    assert.notDeepEqual(fresh, online.timestamp);
    assert.deepEqual(
      await fetchJson(`${address}timestamp.key`),
      online.timestamp,
      'the root still names the old one',
    );
    assert.equal(
      (
        await post(
          address,
          multipart([{ name: 'root', bytes: owner.root(2, { ...online, timestamp: fresh }) }]),
        )
      ).status,
      200,
    );
    assert.deepEqual(await fetchJson(`${address}timestamp.key`), fresh);
    const foreign = { ...online, timestamp: testKey('notary').entry as OnlineEntries['timestamp'] };
    const { detail } = await post(address, multipart([{ name: 'root', bytes: owner.root(3, foreign) }]));
    assert.deepEqual(detail, {
      Name: 'ErrBadRoot',
      Error: { Msg: 'no  timestamp keys exist on the server' },
    });
  });

  it('keeps the newest eight rotated keys that no root names yet, besides the keys in use; a root may name any of them', async () => {
    await first();
    const rotated: OnlineEntries['timestamp'][] = [];
    for (let n = 0; n < 20; n++)
      rotated.push(await fetchJson<OnlineEntries['timestamp']>(`${address}timestamp.key`, 'POST'));
    assert.deepEqual(await fetchJson(`${address}timestamp.key`), online.timestamp);
    const root = (
      version: number,
      timestamp: OnlineEntries['timestamp'] | undefined,
    ): Promise<{ status: number; detail?: unknown }> => {
      assert.ok(timestamp);
      return post(
        address,
        multipart([{ name: 'root', bytes: owner.root(version, { ...online, timestamp }) }]),
      );
    };
    const { detail } = await root(2, rotated[11]);
    assert.deepEqual(detail, {
      Name: 'ErrBadRoot',
      Error: { Msg: 'no  timestamp keys exist on the server' },
    });
    assert.equal((await root(2, rotated[12])).status, 200);
    assert.equal((await root(3, rotated[19])).status, 200);
  });

  it('signs timestamp and snapshot again when they are read after their expiry', async () => {
    await first();
    const [old, moment] = [await read('timestamp'), now];
    now += 15 * day;
    const readers = await Promise.all(Array.from({ length: 8 }, () => read('timestamp')));
    assert.deepEqual(
      new Set(readers.map(({ signed: { version } }) => version)),
      new Set([old.signed.version + 1]),
    );
    assert.ok(Date.parse(readers[0]?.signed.expires ?? '') > now);
    assert.equal((await read('snapshot')).signed.version, 1);
    now += 3 * 366 * day;
    assert.equal((await read('snapshot')).signed.version, 2);
    now = moment;
  });

  it('lets no cache serve a timestamp after its expiry', async () => {
    await first();
    const moment = now;
    now += 14 * day - 60_000;
    const { headers } = await fetch(`${address}timestamp.json`);
    assert.equal(headers.get('cache-control'), 'public, max-age=60, s-maxage=60, must-revalidate');
    now = moment;
  });

  it('signs a timestamp of the usual validity at the next publish after its clock was ahead', async () => {
    await first();
    const moment = now;
    const publishTargets = (version: number): ReturnType<typeof post> =>
      post(address, multipart([{ name: 'targets', bytes: owner.targets(version) }]));
    now += 365 * day;
    await publishTargets(2);
    now = moment;
    const { signed: ahead } = await read('timestamp');
    assert.equal(Date.parse(ahead.expires), moment + (365 + 14) * day);
    assert.equal((await publishTargets(3)).status, 200);
    const { signed: next } = await read('timestamp');
    assert.deepEqual([next.version, Date.parse(next.expires)], [ahead.version + 1, moment + 14 * day]);
  });

  it('signs a timestamp again at the next read after its clock was behind', async () => {
    const moment = now;
    now -= 365 * day;
    await first();
    now = moment;
    const { signed: next } = await read('timestamp');
    assert.deepEqual([next.version, Date.parse(next.expires)], [2, moment + 14 * day]);
  });

  it('answers the changefeed as Notary does', async () => {
    interface Feed {
      readonly count: number;
      readonly records: readonly {
        readonly ID: string;
        readonly GUN: string;
        readonly Version: number;
        readonly SHA256: string;
        readonly Category: string;
      }[];
    }
    const feed = (query: string, of = `${service.url}/v2/${gun}/_trust/changefeed`): Promise<Feed> =>
      fetchJson<Feed>(`${of}?${query}`);
    await first();
    await post(address, multipart([{ name: 'targets', bytes: owner.targets(2) }]));
    const [last] = (await feed('records=-1')).records;
    assert.equal(last?.Version, 2);
    assert.equal(
      last.SHA256,
      sha256(Buffer.from(await (await fetch(`${address}timestamp.json`)).arrayBuffer())),
    );
    assert.equal((await feed(`records=-1&change_id=${last.ID}`)).records[0]?.Version, 1);
    assert.deepEqual(await feed(`records=5&change_id=${last.ID}`), { count: 0, records: [] });
    await fetch(address, { method: 'DELETE' });
    assert.equal((await feed('records=0&change_id=-1')).records.at(-1)?.Category, 'deletion');
    assert.ok((await feed('records=1000', `${service.url}/v2/_trust/changefeed`)).count > 3);
    for (const query of ['', 'records=x', 'records=1&change_id=x', 'records=99999999999']) {
      const answer = await fetch(`${service.url}/v2/_trust/changefeed?${query}`);
      assert.deepEqual(
        [answer.status, ((await answer.json()) as { errors: { code: string }[] }).errors[0]?.code],
        [400, 'INVALID_PARAMETERS'],
        query,
      );
    }
  });

  it('refuses an invalid upload with the documented error, and changes nothing', async () => {
    await first();
    const before = await state();
    const good = owner.targets(2, { v1: 'two' });
    const text = good.toString('utf8');
    const one = (name: string, bytes: Buffer | string): Buffer => multipart([{ name, bytes }]);
    const whole = one('targets', good);
    const deep = `{"signed":${'['.repeat(5000)}${']'.repeat(5000)},"signatures":[]}`;
    const table: [string, string, Buffer, string?][] = [
      ['no multipart', 'MALFORMED_UPLOAD', good, 'application/json'],
      ['no boundary', 'MALFORMED_UPLOAD', whole, 'multipart/form-data'],
      ['another boundary', 'MALFORMED_UPLOAD', whole, 'multipart/form-data; boundary=other'],
      ['cut off in a part', 'MALFORMED_UPLOAD', whole.subarray(0, whole.length - 200)],
      ['cut off at its end', 'MALFORMED_UPLOAD', whole.subarray(0, whole.length - 6)],
      ['oversized', 'MALFORMED_UPLOAD', one('targets', Buffer.alloc(9 * 1024 * 1024, 32))],
      [
        'too many parts',
        'MALFORMED_UPLOAD',
        multipart(Array.from({ length: 1100 }, () => ({ name: 'targets', bytes: '{}' }))),
      ],
      [
        'no file name',
        'NO_FILENAME',
        Buffer.from(whole.toString('latin1').replace('; filename="targets"', ''), 'latin1'),
      ],
      ['an empty file name', 'NO_FILENAME', one('', good)],
      ['only a suffix', 'NO_FILENAME', one('.json', good)],
      ...[
        'Targets',
        'target',
        'targets/',
        'targets//a',
        'targets/../root',
        'targets/A',
        'targets/a b',
        'targets/é',
        '../root',
        'mirrors',
        `targets/${'a'.repeat(250)}`,
      ].map((name): [string, string, Buffer] => [`role ${name}`, 'INVALID_ROLE', one(name, good)]),
      [
        'not UTF-8',
        'MALFORMED_JSON',
        one('targets', Buffer.concat([good.subarray(0, 20), Buffer.from([0xff, 0xfe]), good.subarray(20)])),
      ],
      ['UTF-16', 'MALFORMED_JSON', one('targets', Buffer.from(text, 'utf16le'))],
      ['a byte order mark', 'MALFORMED_JSON', one('targets', `\uFEFF${text}`)],
      ['deep', 'MALFORMED_JSON', one('targets', deep)],
      ['a key twice', 'MALFORMED_JSON', one('targets', text.replace('{"signed":', '{"signed":{},"signed":'))],
      [
        'a version twice',
        'MALFORMED_JSON',
        one('targets', text.replace('"version":2', '"version":1,"version":2')),
      ],
      ['a fraction', 'MALFORMED_JSON', one('targets', text.replace('"version":2', '"version":2.5'))],
      [
        'a huge version',
        'MALFORMED_JSON',
        one('targets', text.replace('"version":2', '"version":9007199254740993')),
      ],
      ['no version', 'MALFORMED_JSON', one('targets', text.replace(',"version":2', ''))],
      ['no signatures', 'MALFORMED_JSON', one('targets', text.replace('"signatures"', '"signature"'))],
      ['two values', 'MALFORMED_JSON', one('targets', `${text}{}`)],
      ['nothing', 'MALFORMED_JSON', one('targets', '')],
      ['null', 'MALFORMED_JSON', one('targets', 'null')],
      ['a list', 'MALFORMED_JSON', one('targets', '[]')],
      [
        'a good part before a bad one',
        'MALFORMED_JSON',
        multipart([
          { name: 'targets', bytes: good },
          { name: 'root', bytes: '{' },
        ]),
      ],
    ];
    for (const [what, code, body, type] of table) {
      const answer = await post(address, body, type ?? multipartType);
      assert.deepEqual([answer.status, answer.code], [400, code], what);
    }
    assert.equal(await state(), before);
  });

  it('refuses invalid metadata, and nothing changes', async () => {
    await first();
    const before = await state();
    const unknown = { keytype: 'dilithium', keyval: { private: null, public: 'AAAA' } };
    const body = (changes: object): Buffer => owner.targets(2, { v1: 'two' }, changes);
    const resigned = body({}).toString('utf8').replace('"v1"', '"v2"');
    const table: [string, Buffer | string][] = [
      ['changed after it was signed', resigned],
      ['without signatures', signed('notary', targetsOf(2, {}), [])],
      ['signed by another', signed('notary', targetsOf(2, {}), [testKey('notary')])],
      ['a version of zero', owner.targets(0, {})],
      ['a negative version', owner.targets(-1, {})],
      ['another type', body({ _type: 'Snapshot' })],
      ['expired', body({ expires: '2020-01-01T00:00:00Z' })],
      ['an invalid time', body({ expires: 'tomorrow' })],
      ['targets that are a list', body({ targets: [] })],
      ['a hash that is too short', body({ targets: { v1: { length: 1, hashes: { sha256: 'AAAA' } } } })],
      ['no hash', body({ targets: { v1: { length: 1, hashes: {} } } })],
      [
        'a negative length',
        body({ targets: { v1: { length: -1, hashes: { sha256: 'A'.repeat(43) + '=' } } } }),
      ],
      [
        'a delegation to a missing key',
        body({
          delegations: {
            keys: {},
            roles: [{ name: 'targets/a', keyids: ['00'], threshold: 1, paths: [''] }],
          },
        }),
      ],
      [
        'a threshold of zero',
        body({
          delegations: { keys: {}, roles: [{ name: 'targets/a', keyids: [], threshold: 0, paths: [''] }] },
        }),
      ],
      [
        'a key under the id of another key',
        body({ delegations: { keys: { ['00'.repeat(32)]: unknown }, roles: [] } }),
      ],
    ];
    for (const [what, bytes] of table) {
      const { status, code, detail } = await post(address, multipart([{ name: 'targets', bytes }]));
      assert.deepEqual(
        [status, code, (detail as { Name?: string } | undefined)?.Name],
        [400, 'INVALID_UPDATE', 'ErrBadTargets'],
        what,
      );
    }
    const strange = testKey('notary');
    const unknownRoot = owner.root(2, online, {
      rootKeys: [{ ...strange, entry: unknown }],
      signers: [owner.rootKey, strange],
    });
    const refused = await post(address, multipart([{ name: 'root', bytes: unknownRoot }]));
    assert.equal((refused.detail as { Name: string }).Name, 'ErrBadRoot');
    assert.equal(await state(), before);
  });

  it('refuses randomly damaged uploads with the documented error, and nothing changes', async () => {
    await first();
    let before = await state();
    const whole = multipart([{ name: 'targets', bytes: owner.targets(2, { v1: 'two', v2: 'three' }) }]);
    const damage = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 })), {
      minLength: 1,
      maxLength: 4,
    });
    await fc.assert(
      fc.asyncProperty(damage, fc.option(fc.nat(whole.length - 1)), async (flips, cut) => {
        const body = Buffer.from(whole.subarray(0, cut ?? whole.length));
        for (const [at, bits] of flips) if (at < body.length) body[at] = (body[at] ?? 0) ^ bits;
        const { status, code } = await post(address, body);
        // Damage outside the signed part, such as in the name of the field, may leave the content intact.
        if (status === 200) {
          await begin();
          await first();
          before = await state();
        } else
          assert.ok(
            [
              'MALFORMED_UPLOAD',
              'MALFORMED_JSON',
              'INVALID_ROLE',
              'NO_FILENAME',
              'INVALID_UPDATE',
              'VERSION',
            ].includes(code ?? ''),
            `${code}`,
          );
      }),
      { numRuns: Number(process.env['PORTCULLIS_BAD_UPLOADS'] ?? 150), seed: 8 },
    );
    assert.equal(await state(), before);
  });

  it('drops an upload that stops in the middle, and goes on', async () => {
    await first();
    const body = multipart([{ name: 'targets', bytes: owner.targets(2) }]);
    await new Promise<void>((resolve) => {
      const sent = httpRequest(address, {
        method: 'POST',
        headers: { 'content-type': multipartType, 'content-length': body.length },
      });
      sent.on('error', () => resolve());
      sent.write(body.subarray(0, 100), () => sent.destroy());
      sent.on('close', resolve);
    });
    assert.equal((await read('targets')).signed.version, 1);
    assert.equal((await post(address, body)).status, 200);
  });

  it('answers health, metrics and unknown requests', async () => {
    assert.equal(await (await fetch(`${service.url}/_notary_server/health`)).text(), '{}');
    assert.equal(await (await fetch(`${service.url}/v2/`)).text(), '{}');
    assert.match(
      await (await fetch(`${service.url}/metrics`)).text(),
      /notary_server_http_requests_total\{operation="GetRole",method="get",code="200"\} \d+/u,
    );
    for (const [method, path, status] of [
      ['GET', '/', 404],
      ['GET', `/v2/${gun}/_trust/tuf/mirrors.json`, 404],
      ['GET', '/v2/%ff/_trust/tuf/root.json', 400],
      ['PUT', `/v2/${gun}/_trust/tuf/`, 404],
      ['PATCH', '/v2/', 405],
      ['GET', `/v2/${'a'.repeat(300)}/_trust/tuf/timestamp.key`, 400],
    ] as const)
      assert.equal((await fetch(`${service.url}${path}`, { method })).status, status, `${method} ${path}`);
  });
});

describe('the trust service’s data folder', () => {
  let data: string;
  before(() => {
    data = mkdtempSync(join(tmpdir(), 'portcullis-trust-data-'));
  });
  after(() => rmSync(data, { recursive: true, force: true }));

  it('keeps collections and keys across a restart, sealed by its own key file', async () => {
    const name = 'example.com/kept';
    const start = (): Promise<TrustService> => startTrustService({ listen: '127.0.0.1:0', data });
    let running = await start();
    const at = (): string => `${running.url}/v2/${name}/_trust/tuf/`;
    const keys = {
      snapshot: await fetchJson<OnlineEntries['snapshot']>(`${at()}snapshot.key`),
      timestamp: await fetchJson<OnlineEntries['timestamp']>(`${at()}timestamp.key`),
    };
    const maker = publisher(name);
    const parts = [
      { name: 'root', bytes: maker.root(1, keys) },
      { name: 'targets', bytes: maker.targets(1, { v1: 'one' }) },
    ];
    assert.equal((await post(at(), multipart(parts))).status, 200);
    const timestamp = await (await fetch(`${at()}timestamp.json`)).text();
    await running.close();
    assert.equal(statSync(join(data, 'service.key')).mode & 0o777, 0o600);
    running = await start();
    assert.equal(await (await fetch(`${at()}timestamp.json`)).text(), timestamp);
    assert.equal((await post(at(), multipart([{ name: 'targets', bytes: maker.targets(2) }]))).status, 200);
    await running.close();

    chmodSync(join(data, 'service.key'), 0o644);
    await assert.rejects(start(), { code: 'TRUST_SERVICE_KEY' });
    chmodSync(join(data, 'service.key'), 0o600);
    writeFileSync(join(data, 'service.key'), `${'00'.repeat(32)}\n`);
    const failures: string[] = [];
    running = await startTrustService({
      listen: '127.0.0.1:0',
      data,
      onFailure: ({ code }) => failures.push(code),
    });
    assert.equal(
      (await post(at(), multipart([{ name: 'targets', bytes: maker.targets(3) }]))).code,
      'UPDATING',
    );
    assert.deepEqual(failures, ['TRUST_SERVICE_KEY']);
    // The key file is lost for good. A root that names new keys repairs the collection.
    const fresh = {
      snapshot: await fetchJson<OnlineEntries['snapshot']>(`${at()}snapshot.key`, 'POST'),
      timestamp: await fetchJson<OnlineEntries['timestamp']>(`${at()}timestamp.key`, 'POST'),
    };
    assert.notDeepEqual(fresh, keys);
    assert.equal((await post(at(), multipart([{ name: 'root', bytes: maker.root(2, fresh) }]))).status, 200);
    assert.equal((await post(at(), multipart([{ name: 'targets', bytes: maker.targets(3) }]))).status, 200);
    await running.close();
  });
});
