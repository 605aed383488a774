import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { createHash } from 'node:crypto';
import { createHttpClient } from '../base/http/index.ts';
import { createLogger } from '../base/log/index.ts';
import type { LogKit } from '../trust/verdict-log/log.fixture.ts';
import { openExporter } from './exporter/exporter.ts';
import type { Exporter, ExporterOptions, ExportSource } from './exporter/exporter.ts';
import { attributeNames, eventNames } from './records/record-names.ts';
import type { LogRecord } from './records/log-record.ts';
import { encodeLogs } from './records/protobuf.ts';
import type { PolicyText } from './records/policy.ts';
import type { NodeState } from './records/state.ts';
import { readAccessFile } from './service/access.ts';
import { startFleetService } from './service/fleet-service.ts';
import type { FleetService, FleetServiceOptions } from './service/fleet-service.ts';

export const tokens = {
  a: 'token-of-node-a-0123456789',
  b: 'token-of-node-b-0123456789',
  r: 'token-of-the-reader-0123',
};
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** An access file for the nodes a and b, and one reader. */
export const access = readAccessFile(
  'tokens.yaml',
  JSON.stringify({
    nodes: { a: { sha256: sha256(tokens.a) }, b: { sha256: sha256(tokens.b) } },
    readers: { r: { sha256: sha256(tokens.r) } },
  }),
);

export async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'fleet-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export async function startFleet(
  t: TestContext,
  options: Partial<FleetServiceOptions> = {},
): Promise<FleetService> {
  const data = options.data ?? (await temporaryFolder(t));
  const service = await startFleetService({
    listen: '127.0.0.1:0',
    keepDays: 400,
    keepBytes: 2 ** 34,
    ...options,
    data,
  });
  t.after(() => service.close());
  return service;
}

export const goodState: NodeState = {
  version: '0.1.0',
  policy: { revision: `sha256:${'1'.repeat(64)}` },
  enforcement: { result: 'pass', since: '2026-01-01T00:00:00.000Z', findings: [] },
  networkReady: true,
  outOfPolicy: [],
  degraded: [],
  roots: [],
  running: [],
  omitted: 0,
};

/** A source that reads the log of a test kit. */
export function sourceOf(
  kit: LogKit,
  state: () => NodeState = () => goodState,
  policy?: () => PolicyText | undefined,
): ExportSource {
  return {
    rows: async (after, most) =>
      (
        await kit.database.all<{
          seq: number;
          entry: string;
          evidence: string;
          hash: string;
          text: string | null;
        }>(
          `SELECT seq, entry, evidence, hash, verdict_text.json AS text FROM verdict_log
           LEFT JOIN verdict_text USING (id) WHERE seq > ? ORDER BY seq LIMIT ?`,
          [after, most],
        )
      ).map(({ text, ...row }) => ({ ...row, ...(text !== null && { text }) })),
    head: async () =>
      Number((await kit.database.get('SELECT coalesce(max(seq), 0) AS seq FROM verdict_log'))?.['seq']),
    checkpoint: () =>
      kit.database.get<{ size: number; note: string }>(
        'SELECT size, note FROM verdict_checkpoint ORDER BY size DESC LIMIT 1',
      ),
    state: () => Promise.resolve(state()),
    ...(policy !== undefined && { policy }),
  };
}

export function exportTo(
  t: TestContext,
  url: string,
  source: ExportSource,
  options: Partial<ExporterOptions> = {},
): Exporter {
  const http = createHttpClient();
  const exporter = openExporter({
    endpoint: url,
    node: 'a',
    labels: { zone: 'north' },
    version: '0.1.0',
    http,
    tls: () => Promise.resolve(undefined),
    token: () => Promise.resolve(tokens.a),
    source,
    log: createLogger({ level: 'silent' }),
    intervalMs: 10,
    random: () => 0,
    ...options,
  });
  t.after(async () => {
    await exporter.close();
    await http.close();
  });
  return exporter;
}

export const rowRecord = (row: {
  seq: number;
  entry: string;
  evidence: string;
  hash: string;
  text?: string;
}): LogRecord => ({
  event: eventNames.row,
  time: 0,
  attributes: new Map<string, string | number>([
    [attributeNames.seq, row.seq],
    [attributeNames.entry, row.entry],
    [attributeNames.evidence, row.evidence],
    [attributeNames.hash, row.hash],
  ]),
  body: row.text ?? '',
});

export const requestOf = (node: string, records: readonly LogRecord[]): Uint8Array =>
  encodeLogs({ attributes: new Map([[attributeNames.node, node]]), records });

export function post(
  url: string,
  body: Uint8Array | string,
  { token = tokens.a, type = 'application/x-protobuf', ...headers }: Record<string, string> = {},
): Promise<Response> {
  return fetch(`${url}/v1/logs`, {
    method: 'POST',
    body: typeof body === 'string' ? body : Buffer.from(body),
    headers: { 'content-type': type, authorization: `Bearer ${token}`, ...headers },
  });
}

export async function read<T>(url: string, path: string, token = tokens.r): Promise<T> {
  const answer = await fetch(`${url}${path}`, { headers: { authorization: `Bearer ${token}` } });
  if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as T;
}

/** Waits until a condition holds. The test's own time limit ends it. */
export async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 10));
}
