import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { reasonOf } from '../../base/errors/index.ts';
import type { HttpAnswer, HttpClient, TlsIdentity } from '../../base/http/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { LogRecord } from '../records/log-record.ts';
import { attributeNames, eventNames, nextRowHeader } from '../records/record-names.ts';
import { decodeLogsResponse, encodeLogs } from '../records/protobuf.ts';
import { mostPolicyLength } from '../records/policy.ts';
import type { PolicyText } from '../records/policy.ts';
import type { NodeState } from '../records/state.ts';
import { createPauses } from './pauses.ts';

const zip = promisify(gzip);

/** A row of the verdict log, with the text of its verdict if it is still stored. */
export interface ExportedRow {
  readonly seq: number;
  readonly entry: string;
  readonly evidence: string;
  readonly hash: string;
  readonly text?: string;
}

/** The data that an exporter sends. Each call reads only a small amount. */
export interface ExportSource {
  /** Returns the next rows in their order. */
  rows(after: number, most: number): Promise<readonly ExportedRow[]>;
  /** Returns the number of the last row; 0 without rows. */
  head(): Promise<number>;
  /** Returns the latest checkpoint. */
  checkpoint(): Promise<{ readonly size: number; readonly note: string } | undefined>;
  state(): Promise<NodeState>;
  /** Returns the policy in force; undefined without one. Absent: policies are not sent. */
  policy?(): PolicyText | undefined;
}

export interface ExporterOptions {
  /** Base URL of the aggregator; `/v1/logs` is added. */
  readonly endpoint: string;
  readonly node: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly version: string;
  readonly http: Pick<HttpClient, 'send'>;
  /**
   * Reads the authorities and the client certificate for each request, because they are renewed while the
   * daemon runs; undefined: those of the system, and no client certificate.
   */
  readonly tls: () => Promise<TlsIdentity | undefined>;
  /** Reads the token for each request; undefined: no token is sent. */
  readonly token: () => Promise<string | undefined>;
  readonly source: ExportSource;
  readonly log: Logger;
  /** The time between two checks for new rows, in ms. Default: 5 s. */
  readonly intervalMs?: number;
  /** The state is sent again after this time even if it has not changed, in ms. Default: 60 s. */
  readonly stateMs?: number;
  /** Between 0 and 1. Default: Math.random. */
  readonly random?: () => number;
}

export interface Exporter {
  /** Ends a request that is being sent. Rows that were not sent are sent after the next start. */
  close(): Promise<void>;
}

/** The maximum number of rows of one request, and the size at which a request ends earlier. */
const mostRows = 256;
const rowsOfRead = 32;
const mostBatchBytes = 1024 * 1024;
/** A longer text of a verdict is not sent, but its row is. */
const mostTextBytes = 512 * 1024;
const requestMs = 30_000;
const mostAnswerBytes = 64 * 1024;

/**
 * Sends the verdict log and the state of this node to an aggregator, one request at a time. The aggregator
 * returns the number of the row that it needs next, so that a row is sent again after a failure on either
 * side and stored once. At most one request is in memory. A slow or absent aggregator costs one waiting
 * request or timer.
 */
export function openExporter(options: ExporterOptions): Exporter {
  const { source, log, intervalMs = 5_000, stateMs = 60_000, random = Math.random } = options;
  const stop = new AbortController();
  const pauses = createPauses(random);
  const url = new URL(`${options.endpoint.replace(/\/+$/u, '')}/v1/logs`);
  /** The number of the next row; undefined until the aggregator has answered. */
  let next: number | undefined;
  let signed = 0;
  let [sentState, stateAt] = ['', -Infinity];
  let sentPolicy = '';
  let complaint = '';
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> = Promise.resolve();

  async function batch(): Promise<{ readonly records: readonly LogRecord[]; readonly sent: Sent }> {
    const records: LogRecord[] = [];
    let last = next;
    if (last !== undefined) {
      const rows = await rowsFrom(source, last);
      for (const row of rows) records.push(rowRecord(row));
      last += rows.length;
    }
    const checkpoint = last === undefined ? undefined : await source.checkpoint();
    const isNew = checkpoint !== undefined && checkpoint.size > signed && checkpoint.size < (last ?? 0);
    if (isNew) records.push(eventOf(eventNames.checkpoint, checkpoint.note));
    const state = JSON.stringify(await source.state());
    const isDue = state !== sentState || performance.now() - stateAt >= stateMs;
    if (isDue) records.push(eventOf(eventNames.state, state));
    const policy = policyToSend(source, sentPolicy);
    if (policy?.body !== undefined) records.push(eventOf(eventNames.policy, policy.body));
    return {
      records,
      sent: {
        ...(isNew && { size: checkpoint.size }),
        ...(isDue && { state }),
        ...(policy !== undefined && { policy: policy.revision }),
      },
    };
  }

  async function post(records: readonly LogRecord[]): Promise<HttpAnswer> {
    const token = await options.token();
    return options.http.send({
      url,
      method: 'POST',
      headers: {
        'content-type': 'application/x-protobuf',
        'content-encoding': 'gzip',
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
      },
      body: await zip(encodeLogs({ attributes: resourceOf(options), records })),
      totalMs: requestMs,
      signal: stop.signal,
      tls: options.tls,
    });
  }

  /** Sends one request. @returns the pause until the next one in ms, 0 if there may be more to send */
  async function round(): Promise<number> {
    const { records, sent } = await batch();
    if (records.length === 0) return intervalMs;
    const answer = await post(records);
    const bytes = await answer.bytes(mostAnswerBytes);
    if (answer.status !== 200) return refused(answer, `the aggregator answered ${answer.status}`);
    const { rejected, message } = decodeLogsResponse(bytes);
    const before = next;
    next = nextOf(answer) ?? (before === undefined ? (await source.head()) + 1 : before + rowsIn(records));
    if (sent.state !== undefined) [sentState, stateAt] = [sent.state, performance.now()];
    // Accepted or refused, the policy is not sent again before it changes or the daemon restarts.
    // An aggregator that requests earlier rows has lost the policy and the checkpoint, too.
    const hasLost = before !== undefined && next < before;
    sentPolicy = hasLost ? '' : (sent.policy ?? sentPolicy);
    if (hasLost) signed = 0;
    if (rejected > 0) return refused(answer, `the aggregator refused ${rejected} records: ${message}`);
    if (!hasLost) signed = sent.size ?? signed;
    // For example, two aggregators have one address. Without a pause, the node would send without end.
    if (before !== undefined && rowsIn(records) > 0 && next <= before)
      return refused(answer, `the aggregator accepted rows, and requests row ${next} again`);
    if (complaint !== '') log.info({ endpoint: url.origin }, 'the aggregator accepts records again');
    complaint = '';
    pauses.reset();
    return before === undefined || rowsIn(records) > 0 ? 0 : intervalMs;
  }

  function refused(answer: HttpAnswer, why: string): number {
    complain(why);
    return pauses.next(Number(answer.header('retry-after') ?? 0) * 1000);
  }

  /** Logs a problem once, until another problem or a success follows. */
  function complain(why: string): void {
    if (complaint !== why)
      log.warn(
        { endpoint: url.origin, cause: why },
        'records could not be sent; the daemon will send them later',
      );
    complaint = why;
  }

  function schedule(inMs: number): void {
    if (stop.signal.aborted) return;
    timer = setTimeout(() => {
      running = round()
        .catch((thrown: unknown) => {
          if (!stop.signal.aborted) complain(reasonOf(thrown));
          return pauses.next(0);
        })
        .then(schedule);
    }, inMs).unref();
  }
  schedule(0);

  return {
    async close() {
      stop.abort(new Error('the daemon stops'));
      clearTimeout(timer);
      await running;
    },
  };
}

/** Returns the policy in force unless its revision was sent. A policy that is too long has no body. */
function policyToSend(
  source: Pick<ExporterOptions['source'], 'policy'>,
  sent: string,
): { readonly revision: string; readonly body?: string } | undefined {
  const policy = source.policy?.();
  if (policy === undefined || policy.revision === sent) return undefined;
  const body = JSON.stringify(policy);
  return { revision: policy.revision, ...(body.length <= mostPolicyLength && { body }) };
}

/** The content of a request besides rows. */
interface Sent {
  readonly size?: number;
  readonly state?: string;
  /** The revision of the policy. */
  readonly policy?: string;
}

const rowsIn = (records: readonly LogRecord[]): number =>
  records.filter(({ event }) => event === eventNames.row).length;

/** Reads rows from a number on, a few at a time, up to the size of a request. */
async function rowsFrom(source: ExportSource, from: number): Promise<readonly ExportedRow[]> {
  const rows: ExportedRow[] = [];
  for (let bytes = 0; rows.length < mostRows && bytes < mostBatchBytes;) {
    const found = await source.rows(from - 1 + rows.length, rowsOfRead);
    for (const row of found) {
      bytes += row.entry.length + (row.text?.length ?? 0);
      rows.push(row);
      if (bytes >= mostBatchBytes) break;
    }
    if (found.length < rowsOfRead) break;
  }
  return rows;
}

function rowRecord({ seq, entry, evidence, hash, text = '' }: ExportedRow): LogRecord {
  return {
    ...eventOf(eventNames.row, text.length > mostTextBytes ? '' : text),
    attributes: new Map<string, string | number>([
      [attributeNames.seq, seq],
      [attributeNames.entry, entry],
      [attributeNames.evidence, evidence],
      [attributeNames.hash, hash],
    ]),
  };
}

const eventOf = (event: string, body: string): LogRecord => ({
  event,
  time: Date.now(),
  attributes: new Map(),
  body,
});

function resourceOf({ node, labels, version }: ExporterOptions): ReadonlyMap<string, string> {
  return new Map([
    ['service.name', 'portcullis'],
    ['service.version', version],
    [attributeNames.node, node],
    ...Object.entries(labels).map(([key, value]) => [`${attributeNames.label}${key}`, value] as const),
  ]);
}

/** Returns the row that the aggregator needs next. Another OTLP receiver does not return it. */
function nextOf(answer: HttpAnswer): number | undefined {
  const text = answer.header(nextRowHeader) ?? '';
  return /^[1-9]\d{0,14}$/u.test(text) ? Number(text) : undefined;
}
