import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { isPortcullisError } from '../../base/errors/index.ts';
import { createHttpClient } from '../../base/http/index.ts';
import type { TlsIdentity } from '../../base/http/index.ts';
import { makeCertificate } from '../../test/fixtures/certificate.ts';
import { openKit } from '../../trust/verdict-log/log.fixture.ts';
import {
  access,
  exportTo,
  goodState,
  post,
  read,
  requestOf,
  rowRecord,
  sourceOf,
  startFleet,
  temporaryFolder,
  tokens,
  until,
} from '../fleet.fixture.ts';
import type { Alert } from '../api/alerts.ts';
import { eventNames } from '../records/record-names.ts';
import type { FleetVerdict } from '../store/api.types.ts';
import type { StoredRow } from '../store/queries.ts';
import { startFleetService } from './fleet-service.ts';

interface Listed {
  readonly verdicts: readonly FleetVerdict[];
  readonly next?: string;
}
interface NodeAnswer {
  readonly state?: object;
  readonly checkpoint: string;
  readonly problems: readonly { readonly code: string; readonly seq: number }[];
}

const verdictsAt = async (url: string, query = ''): Promise<Listed> => read(url, `/v1/verdicts${query}`);
const countAt = async (url: string): Promise<number> => {
  const { rows } = await read<{ rows: readonly StoredRow[] }>(url, '/v1/nodes/a/log?most=1000').catch(() => ({
    rows: [],
  }));
  return rows.length;
};
const codesAt = async (url: string): Promise<readonly string[]> =>
  (await read<{ alerts: readonly Alert[] }>(url, '/v1/alerts')).alerts.map(({ code }) => code);

describe('the aggregator', () => {
  it('shows the verdicts, the state and the checkpoint of a node, with every search filter', async (t) => {
    const kit = await openKit(t, { checkpointRows: 1_000_000 });
    await kit.append(40);
    await kit.log.checkpoint();
    const { url } = await startFleet(t, { access });
    exportTo(t, url, sourceOf(kit));
    await until(async () => (await countAt(url)) === 41);
    const { verdicts } = await verdictsAt(url, '?most=100');
    assert.equal(verdicts.length, 40);
    for (const [query, expected] of [
      ['outcome=deny', ({ outcome }: FleetVerdict) => outcome === 'deny'],
      ['namespace=team-1', ({ namespace }: FleetVerdict) => namespace === 'team-1'],
      ['image=image-7:', ({ reference }: FleetVerdict) => reference.includes('image-7:')],
      ['image=%25', () => false],
      ['node=b', () => false],
      ['until=2000-01-01', () => false],
    ] as const)
      assert.deepEqual(
        (await verdictsAt(url, `?most=100&${query}`)).verdicts.map(({ seq }) => seq),
        verdicts.filter(expected).map(({ seq }) => seq),
        query,
      );
    const pages: FleetVerdict[] = [];
    for (
      let page = await verdictsAt(url, '?most=7');
      ;
      page = await verdictsAt(url, `?most=7&after=${page.next}`)
    ) {
      pages.push(...page.verdicts);
      if (page.next === undefined) break;
    }
    assert.deepEqual(pages, verdicts);
    const denied = verdicts.find(({ outcome }) => outcome === 'deny');
    const one = await read<{ text: { reasons: { children: { code?: string }[] } }; rows: FleetVerdict[] }>(
      url,
      `/v1/verdicts/${denied?.verdict}`,
    );
    assert.equal(one.rows[0]?.seq, denied?.seq);
    const code = JSON.stringify(one.text.reasons).match(/"code":"([A-Z_]+)"/)?.[1];
    assert.ok(code !== undefined);
    assert.ok((await verdictsAt(url, `?reason=${code}`)).verdicts.some(({ seq }) => seq === denied?.seq));
    const node = await read<NodeAnswer>(url, '/v1/nodes/a');
    assert.deepEqual(node.state, goodState);
    assert.match(node.checkpoint, /^portcullis\.dev\/verdict-log\/chain\/v1\n41\n/);
    assert.deepEqual(node.problems, []);
    assert.deepEqual(await codesAt(url), []);
    await assert.rejects(read(url, '/v1/verdicts?colour=red'), /400 .*FLEET_BAD_REQUEST/);
    await assert.rejects(read(url, '/v1/nodes/nobody'), /404 .*the object that it names/);
  });

  it('stores each row once, also if rows are sent again, and after kill -9', async (t) => {
    const data = await temporaryFolder(t);
    const kit = await openKit(t);
    await kit.append(30);
    const rows = await sourceOf(kit).rows(0, 100);
    // A separate process, which is killed while it serves.
    const text = `import { startFleetService } from ${JSON.stringify(join(import.meta.dirname, 'fleet-service.ts'))};
      const { url } = await startFleetService({ listen: '127.0.0.1:0', data: ${JSON.stringify(data)}, keepDays: 1, keepBytes: 2 ** 30 });
      process.stdout.write(url + '\\n');`;
    const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', text], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.after(() => void child.kill('SIGKILL'));
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const first = line.toString().trim();
    for (const [from, to] of [
      [0, 10],
      [0, 10],
      [5, 20],
    ] as const) {
      const answer = await post(first, requestOf('a', rows.slice(from, to).map(rowRecord)));
      assert.equal(answer.status, 200);
      assert.equal(answer.headers.get('portcullis-next-row'), String(to + 1));
    }
    child.kill('SIGKILL');
    await once(child, 'exit');
    const { url } = await startFleet(t, { data, access });
    assert.equal(await countAt(url), 20);
    // It continues with the next row of the aggregator, without a gap or a duplicate.
    exportTo(t, url, sourceOf(kit));
    await until(async () => (await countAt(url)) === 31);
    const { rows: stored } = await read<{ rows: readonly StoredRow[] }>(url, '/v1/nodes/a/log?most=1000');
    assert.deepEqual(
      stored,
      (await sourceOf(kit).rows(0, 100)).map(({ text: _text, ...row }) => row),
    );
  });

  it('refuses a row that contradicts the chain, and reports it', async (t) => {
    const kit = await openKit(t);
    const other = await openKit(t);
    await kit.append(5);
    await other.append(5);
    const { url } = await startFleet(t, { access });
    const rows = await sourceOf(kit).rows(0, 100);
    const forged = await sourceOf(other).rows(0, 100);
    await post(url, requestOf('a', rows.slice(0, 4).map(rowRecord)));
    const gap = await post(url, requestOf('a', [rowRecord({ ...rows[5]!, seq: 9 })]), {
      type: 'application/x-protobuf',
    });
    assert.equal(gap.headers.get('portcullis-next-row'), '5');
    assert.match(await gap.text(), /row 5 must come before row 9/);
    for (const record of [rowRecord(forged[2]!), rowRecord({ ...rows[4]!, hash: '0'.repeat(64) })])
      assert.equal((await post(url, requestOf('a', [record]))).headers.get('portcullis-next-row'), '5');
    const checkpoint = (await firstCheckpoint(other)) ?? '';
    await post(
      url,
      requestOf('a', [{ event: eventNames.checkpoint, time: 0, attributes: new Map(), body: checkpoint }]),
    );
    const { problems } = await read<NodeAnswer>(url, '/v1/nodes/a');
    assert.deepEqual(problems.map(({ code }) => code).sort(), [
      'LOG_CHAIN_BROKEN',
      'LOG_CHECKPOINT_WRONG',
      'LOG_FORKED',
    ]);
    const alerts = await codesAt(url);
    assert.ok(alerts.includes('LOG_FORKED') && alerts.includes('LOG_CHAIN_BROKEN'));
    assert.equal(await countAt(url), 4);
  });

  it('lets a node write only its own records, and a reader only read', async (t) => {
    const { url } = await startFleet(t, { access });
    const state = [
      { event: eventNames.state, time: 0, attributes: new Map(), body: JSON.stringify(goodState) },
    ];
    const cases = [
      { answer: await post(url, requestOf('b', state)), status: 403 },
      { answer: await post(url, requestOf('a', state), { token: 'nobody-knows-this-token' }), status: 401 },
      { answer: await post(url, requestOf('a', state), { token: tokens.r }), status: 403 },
      { answer: await fetch(`${url}/v1/nodes`), status: 401 },
      { answer: await fetch(`${url}/metrics`), status: 401 },
      {
        answer: await fetch(`${url}/v1/nodes`, { headers: { authorization: `Bearer ${tokens.a}` } }),
        status: 403,
      },
      {
        answer: await fetch(`${url}/v1/nodes`, {
          method: 'DELETE',
          headers: { authorization: `Bearer ${tokens.r}` },
        }),
        status: 405,
      },
      { answer: await fetch(`${url}/v1/traces`, { method: 'POST', body: '{}' }), status: 404 },
      { answer: await fetch(`${url}/healthz`), status: 200 },
    ];
    for (const [index, { answer, status }] of cases.entries())
      assert.equal(answer.status, status, String(index));
    assert.deepEqual(await read(url, '/v1/nodes'), { nodes: [] });
  });

  it('accepts nodes and readers only by client certificates of its authority', async (t) => {
    const folder = await temporaryFolder(t);
    const text = (file: string): string => readFileSync(file, 'utf8');
    const authority = makeCertificate(folder, 'authority');
    const issue = (name: string, subject: string, by = authority) => {
      const more = ['-CA', by.certificate, '-CAkey', by.key, '-subj', subject];
      const made = makeCertificate(folder, name, {
        more: [...more, '-addext', 'subjectAltName=IP:127.0.0.1'],
      });
      return {
        id: name,
        ca: [text(authority.certificate)],
        cert: text(made.certificate),
        key: text(made.key),
      };
    };
    const server = issue('server', '/CN=server');
    const { url } = await startFleet(t, {
      tls: { certificate: server.cert, key: server.key, clientAuthorities: text(authority.certificate) },
    });
    const kit = await openKit(t);
    await kit.append(2);
    const http = createHttpClient();
    t.after(() => http.close());
    const node = issue('node', '/O=portcullis:nodes/CN=a');
    exportTo(t, url, sourceOf(kit), {
      token: () => Promise.resolve(undefined),
      tls: () => Promise.resolve(node),
    });
    const ask = async (tls: TlsIdentity) => {
      const answer = await http.send({
        url: new URL(`${url}/v1/nodes`),
        totalMs: 10_000,
        tls: async () => tls,
      });
      return { status: answer.status, text: (await answer.bytes(65_536)).toString() };
    };
    const reader = issue('reader', '/O=portcullis:readers/CN=r');
    await until(async () => (await ask(reader)).text.includes('"name":"a"'));
    const stranger = makeCertificate(folder, 'stranger');
    for (const [tls, status] of [
      [node, 403],
      [issue('other', '/O=others/CN=r'), 401],
      [issue('twice', '/O=portcullis:readers/CN=r/CN=s'), 401],
      [issue('forged', '/O=portcullis:readers/CN=r', stranger), 401],
      [{ id: 'none', ca: reader.ca }, 401],
    ] as const)
      assert.equal((await ask(tls)).status, status, tls.id);
  });

  it('uses a renewed certificate, another authority and other tokens while a node sends', async (t) => {
    const folder = await temporaryFolder(t);
    const text = (file: string): string => readFileSync(file, 'utf8');
    const generation = (name: string) => {
      const authority = makeCertificate(folder, name);
      const issue = (subject: string) => {
        const made = makeCertificate(folder, `${name}-${subject.length}`, {
          more: [
            ...['-CA', authority.certificate, '-CAkey', authority.key, '-subj', subject],
            ...['-addext', 'subjectAltName=IP:127.0.0.1'],
          ],
        });
        return { certificate: text(made.certificate), key: text(made.key) };
      };
      const ca = text(authority.certificate);
      const { certificate: cert, key } = issue('/O=portcullis:nodes/CN=a');
      return {
        tls: { ...issue('/CN=server'), clientAuthorities: ca },
        node: { id: name, ca: [ca], cert, key },
      };
    };
    const [first, second] = [generation('first'), generation('second')];
    const service = await startFleet(t, { tls: first.tls });
    const kit = await openKit(t);
    let identity: TlsIdentity = first.node;
    exportTo(t, service.url, sourceOf(kit), {
      token: () => Promise.resolve(undefined),
      tls: () => Promise.resolve(identity),
      stateMs: 0,
    });
    const http = createHttpClient();
    t.after(() => http.close());
    const rows = async (): Promise<number> => {
      const answer = await http.send({
        url: new URL(`${service.url}/v1/nodes`),
        totalMs: 10_000,
        headers: { authorization: `Bearer ${tokens.r}` },
        tls: async () => ({ id: second.node.id, ca: second.node.ca }),
      });
      assert.equal(answer.status, 200);
      const { nodes } = JSON.parse((await answer.bytes(65_536)).toString()) as { nodes: { rows: number }[] };
      return nodes[0]?.rows ?? 0;
    };
    assert.throws(() => service.use({ tls: { ...first.tls, key: second.tls.key } }), { code: 'FLEET_TLS' });
    assert.throws(() => service.use({ tls: { ...first.tls, clientAuthorities: 'none' } }), {
      code: 'FLEET_TLS',
      message: /contains no PEM certificate/,
    });
    service.use({ tls: second.tls, access });
    const before = await rows();
    await kit.append(2);
    await pause(300);
    assert.equal(await rows(), before, 'the earlier authority counts no more');
    identity = second.node;
    await until(async () => (await rows()) === 3);
  });

  it('answers hostile requests with a status, and continues to serve', async (t) => {
    const { url } = await startFleet(t, { access });
    const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
    for (const [body, headers, status] of [
      [Buffer.alloc(1000, 0xff), {}, 400],
      ['{"resourceLogs":"no"}', { type: 'application/json' }, 400],
      [`{"resourceLogs":${'['.repeat(100_000)}`, { type: 'application/json' }, 400],
      ['hello', { type: 'text/plain' }, 415],
      [bomb, { 'content-encoding': 'gzip' }, 413],
      ['no gzip', { 'content-encoding': 'gzip' }, 400],
      ['x', { 'content-encoding': 'br' }, 415],
      [Buffer.alloc(5 * 1024 * 1024), {}, 413],
      [requestOf('../../etc', []), {}, 400],
      [requestOf('a', [{ event: 'other', time: 0, attributes: new Map(), body: '' }]), {}, 200],
      [
        requestOf('a', [{ event: eventNames.state, time: 0, attributes: new Map(), body: '{"version":1}' }]),
        {},
        200,
      ],
    ] as const) {
      const answer = await post(url, body, headers).catch((thrown: unknown) => thrown);
      // A server may close the connection before it has read a body that is too long.
      if (answer instanceof Response) assert.equal(answer.status, status, JSON.stringify(headers));
      else assert.equal(status, 413);
    }
    const half = connect(Number(new URL(url).port), '127.0.0.1');
    t.after(() => half.destroy());
    half.write('POST /v1/logs HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n');
    assert.equal((await post(url, requestOf('a', []))).status, 200);
    const metrics = await (
      await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${tokens.r}` } })
    ).text();
    assert.match(metrics, /portcullis_fleet_records_refused_total 2\n/);
  });

  it('refuses a web page that reaches loopback through its own host name, if no tokens are configured', async (t) => {
    const { url } = await startFleet(t);
    assert.equal((await fetch(`${url}/v1/nodes`)).status, 200);
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    socket.end('GET /v1/nodes HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n');
    const chunks: Buffer[] = [];
    for await (const chunk of socket as AsyncIterable<Buffer>) chunks.push(chunk);
    assert.match(Buffer.concat(chunks).toString(), /^HTTP\/1.1 401 /);
  });

  it('does not listen beyond loopback without encryption and tokens', async (t) => {
    const data = await temporaryFolder(t);
    for (const listen of ['0.0.0.0:0', '[::]:0', ':0', 'fleet.example:0'])
      await assert.rejects(
        startFleetService({ listen, data, access, keepDays: 1, keepBytes: 1 }),
        (thrown) => isPortcullisError(thrown) && thrown.code === 'FLEET_OPEN',
      );
  });

  it('removes rows by age and by size, first from the node with the most bytes', async (t) => {
    const data = await temporaryFolder(t);
    const kit = await openKit(t);
    await kit.append(20);
    const rows = (await sourceOf(kit).rows(0, 100)).map(rowRecord);
    const first = await startFleetService({
      listen: '127.0.0.1:0',
      data,
      access,
      keepDays: 1,
      keepBytes: 2 ** 30,
    });
    await post(first.url, requestOf('a', rows));
    await post(first.url, requestOf('b', rows.slice(0, 3)), { token: tokens.b });
    await first.close();
    const second = await startFleetService({
      listen: '127.0.0.1:0',
      data,
      access,
      keepDays: 1,
      keepBytes: 8192,
    });
    await second.close();
    const third = await startFleet(t, { data, access });
    const log = await read<{ rows: readonly StoredRow[] }>(third.url, '/v1/nodes/a/log');
    assert.deepEqual(log.rows, []);
    assert.equal((await read<{ rows: readonly StoredRow[] }>(third.url, '/v1/nodes/b/log')).rows.length, 3);
    // The chain of a node continues although its rows have expired.
    await kit.append(1);
    const [next] = await sourceOf(kit).rows(21, 1);
    const answer = await post(third.url, requestOf('a', [rowRecord(next!)]));
    assert.equal(answer.headers.get('portcullis-next-row'), '23');
  });

  it('removes a node on request', async (t) => {
    const data = await temporaryFolder(t);
    const kit = await openKit(t);
    await kit.append(3);
    const first = await startFleetService({
      listen: '127.0.0.1:0',
      data,
      access,
      keepDays: 1,
      keepBytes: 2 ** 30,
    });
    await post(first.url, requestOf('a', (await sourceOf(kit).rows(0, 10)).map(rowRecord)));
    await first.close();
    const { url, unknown } = await startFleet(t, { data, access, forget: ['a', 'nobody'] });
    assert.deepEqual(unknown, ['nobody']);
    assert.deepEqual(await read(url, '/v1/nodes'), { nodes: [] });
    assert.deepEqual((await verdictsAt(url)).verdicts, []);
  });

  it('shows alerts for the state of a node', async (t) => {
    let now = Date.parse('2026-06-01T00:00:00Z');
    const { url } = await startFleet(t, { access, clock: () => now });
    const container = { id: 'c', namespace: 'pay', pod: 'web-1', name: 'web' };
    const state = {
      ...goodState,
      policy: { problem: 'policy.yaml:1:1: unknown field' },
      enforcement: { ...goodState.enforcement, result: 'fail' },
      networkReady: false,
      outOfPolicy: [
        {
          ...container,
          reference: 'docker.io/library/a:1',
          rule: 'p:1',
          outcome: 'deny',
          since: '2026-01-01T00:00:00Z',
          verdict: '',
        },
      ],
      degraded: [{ ...container, reasons: ['no landlock'] }],
      roots: [{ name: 'root.json', rule: 'p:1', ends: '2026-06-05T00:00:00Z' }],
    };
    const body = JSON.stringify(state);
    await post(url, requestOf('a', [{ event: eventNames.state, time: 0, attributes: new Map(), body }]));
    now += 301_000;
    assert.deepEqual((await codesAt(url)).toSorted(), [
      ...['CONTAINERS_DEGRADED', 'CONTAINERS_OUT_OF_POLICY', 'ENFORCEMENT_FAILS', 'NODE_SILENT'],
      ...['PODS_WITHOUT_NETWORK', 'POLICY_MISSING', 'ROOT_ENDS'],
    ]);
  });
});

async function firstCheckpoint(kit: {
  database: { get: <R extends object>(sql: string) => Promise<R | undefined> };
}) {
  const row = await kit.database.get<{ note: string }>(
    'SELECT note FROM verdict_checkpoint ORDER BY size LIMIT 1',
  );
  return row?.note;
}
