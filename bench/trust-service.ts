/**
 * `npm run bench:trust [-- --seconds N]`: compares our trust service (SQLite, every publish durable) with
 * Debian's notary-server (in-memory storage) in one run, each in its own process on loopback: warm reads of a
 * timestamp, publishes, and a collection of 50,000 targets.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startNotaryServer, notaryServer } from '../test/fixtures/notary.ts';
import {
  certifiedKey,
  fetchJson,
  multipart,
  multipartType,
  post,
  publisher,
} from '../trust/notary/publisher.fixture.ts';
import type { OnlineEntries } from '../trust/notary/publisher.fixture.ts';
import { percentile } from './samples.ts';

const { values } = parseArgs({
  allowNegative: true,
  options: {
    large: { type: 'boolean', default: true },
    seconds: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '3' },
    publishes: { type: 'string', default: '150' },
  },
});
const seconds = Number(values.seconds);
const connections = 8;
/** Publishes of a connection per round. */
const each = Number(values.publishes);
const folder = mkdtempSync(join(tmpdir(), 'portcullis-bench-trust-'));
const prefix = 'bench.example.com/';

interface Service {
  readonly name: string;
  readonly pid: number;
  readonly url: string;
  close(): Promise<void>;
}

async function startOurs(): Promise<Service> {
  // Started as users start it, with its memory settings: the launcher becomes the service.
  const command = join(import.meta.dirname, '../packaging/bin/portcullis');
  const words = [
    'trust',
    'serve',
    '--listen',
    '127.0.0.1:0',
    '--data',
    join(folder, 'ours'),
    '--output',
    'json',
  ];
  const child = spawn(command, words, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, PORTCULLIS_SOURCE: '1' },
  });
  let said = '';
  while (!said.includes('}')) said += String((await once(child.stdout, 'data'))[0]);
  const { url } = JSON.parse(said) as { url: string };
  return {
    name: 'ours',
    pid: child.pid ?? 0,
    url,
    async close() {
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}

/**
 * A kept connection that sends one request after the other, with as little work as possible, because both
 * services share the machine with it.
 */
async function converse(url: string, questions: Iterable<Buffer | string, undefined>): Promise<number> {
  const { hostname, port } = new URL(url);
  const socket = connect({ port: Number(port), host: hostname, noDelay: true });
  await once(socket, 'connect');
  const next = questions[Symbol.iterator]();
  let answers = 0;
  let received: Buffer = Buffer.alloc(0);
  await new Promise<void>((resolve, reject) => {
    const ask = (): void => {
      const question = next.next();
      if (question.done === true) resolve();
      else socket.write(question.value);
    };
    socket.on('error', reject);
    socket.on('close', () => reject(new Error(`${url}: the connection was closed`)));
    socket.on('data', (chunk: Buffer) => {
      received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
      const length = answerLength(received);
      if (length === undefined || received.length < length) return;
      if (received.toString('latin1', 9, 12) !== '200') reject(new Error(`${url}: ${received.toString()}`));
      received = received.subarray(length);
      answers += 1;
      ask();
    });
    ask();
  });
  socket.destroy();
  return answers;
}

/** Returns the length of a whole answer, once its head is there. */
function answerLength(received: Buffer): number | undefined {
  const head = received.indexOf('\r\n\r\n');
  if (head === -1) return undefined;
  const [, body] = /\r\ncontent-length: *(\d+)/iu.exec(received.toString('latin1', 0, head)) ?? [];
  if (body === undefined) throw new Error('the answer does not say how long it is');
  return head + 4 + Number(body);
}

/** Each connection repeats its request as soon as it has the answer. @returns answers per second */
async function readRate(url: string): Promise<number> {
  const { pathname, host } = new URL(url);
  const question = `GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
  const begin = performance.now();
  const end = begin + seconds * 1000;
  const questions = function* (): Generator<string, undefined> {
    while (performance.now() < end) yield question;
    return undefined;
  };
  const answers = await Promise.all(Array.from({ length: connections }, () => converse(url, questions())));
  return answers.reduce((sum, one) => sum + one, 0) / ((performance.now() - begin) / 1000);
}

const rootKey = certifiedKey(`${prefix}*`);

interface Begun {
  readonly address: string;
  readonly owner: ReturnType<typeof publisher>;
}

async function begin(
  service: Service,
  name: string,
  targets: Readonly<Record<string, string>>,
): Promise<Begun> {
  const address = `${service.url}/v2/${prefix}${name}/_trust/tuf/`;
  const online: OnlineEntries = {
    snapshot: await fetchJson(`${address}snapshot.key`),
    timestamp: await fetchJson(`${address}timestamp.key`),
  };
  const owner = publisher(`${prefix}*`);
  const root = owner.root(1, online, { rootKeys: [rootKey], signers: [rootKey] });
  const { status, detail } = await post(
    address,
    multipart([
      { name: 'root', bytes: root },
      { name: 'targets', bytes: owner.targets(1, targets) },
    ]),
  );
  if (status !== 200) throw new Error(`${service.name} ${address}: ${status} ${JSON.stringify(detail)}`);
  return { address, owner };
}

/**
 * Returns the processor time of a process and its threads so far, in milliseconds (proc_pid_stat(5); ticks
 * are of 10 ms).
 */
function processorTime(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** Concurrent publishers, each to its own collection, one publish after the other. */
async function publishes(
  service: Service,
  round: number,
): Promise<{ readonly rate: number; readonly processorMs: number }> {
  const names = Object.fromEntries(
    Array.from({ length: 20 }, (_, index) => [`v${index}`, `content ${index}`]),
  );
  const lines: { address: string; questions: Buffer[] }[] = [];
  for (let index = 0; index < connections; index += 1) {
    const { address, owner } = await begin(service, `publish-${round}-${index}`, names);
    // Sign before the clock starts.
    const bodies = Array.from({ length: each }, (_, at) =>
      multipart([{ name: 'targets', bytes: owner.targets(at + 2, names) }]),
    );
    lines.push({ address, questions: bodies.map((body) => postOf(address, body)) });
  }
  const [start, before] = [performance.now(), processorTime(service.pid)];
  await Promise.all(lines.map(({ address, questions }) => converse(address, questions)));
  const [seconds, after] = [(performance.now() - start) / 1000, processorTime(service.pid)];
  const count = connections * each;
  return { rate: count / seconds, processorMs: (after - before) / count };
}

function postOf(address: string, body: Buffer): Buffer {
  const { pathname, host } = new URL(address);
  const head = `POST ${pathname} HTTP/1.1\r\nHost: ${host}\r\nContent-Type: ${multipartType}\r\nContent-Length: ${body.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), body]);
}

/**
 * Returns milliseconds: publish of 50,000 targets, then lists (the whole file) and look-ups of the timestamp,
 * p50.
 */
async function largeCollection(service: Service): Promise<readonly [number, number, number]> {
  const names = Object.fromEntries(
    Array.from({ length: 50_000 }, (_, index) => [`release-${index}`, `content ${index}`]),
  );
  const start = performance.now();
  const { address } = await begin(service, 'large', names);
  const published = performance.now() - start;
  const timed = async (name: string): Promise<number> => {
    const samples: number[] = [];
    for (let count = 0; count < 20; count += 1) {
      const from = performance.now();
      await (await fetch(`${address}${name}`)).arrayBuffer();
      samples.push(performance.now() - from);
    }
    return percentile(samples, 50);
  };
  return [published, await timed('targets.json'), await timed('timestamp.json')];
}

if (notaryServer.skip !== false) throw new Error(notaryServer.skip);
const median = (numbers: readonly number[]): number => percentile([...numbers], 50);
const theirs: Service = { name: 'notary-server', ...(await startNotaryServer(join(folder, 'theirs'))) };
const ours = await startOurs();
try {
  const figures = new Map<string, { reads: number[]; publishes: number[]; processor: number[] }>();
  const warm = new Map<Service, string>();
  for (const service of [ours, theirs])
    warm.set(service, (await begin(service, 'warm', { v1: 'one' })).address);
  for (let round = 0; round < Number(values.rounds); round += 1) {
    for (const service of round % 2 === 0 ? [ours, theirs] : [theirs, ours]) {
      const kept = figures.get(service.name) ?? { reads: [], publishes: [], processor: [] };
      kept.reads.push(await readRate(`${warm.get(service) ?? ''}timestamp.json`));
      const { rate, processorMs } = await publishes(service, round);
      kept.publishes.push(rate);
      kept.processor.push(processorMs);
      figures.set(service.name, kept);
    }
  }
  const [a, b] = [figures.get('ours'), figures.get('notary-server')];
  const [reads, theirReads] = [median(a?.reads ?? []), median(b?.reads ?? [])];
  const [published, theirsPublished] = [median(a?.publishes ?? []), median(b?.publishes ?? [])];
  const [processor, theirProcessor] = [median(a?.processor ?? []), median(b?.processor ?? [])];
  console.log(
    `warm timestamp reads a second: ours ${reads.toFixed(0)}, notary-server ${theirReads.toFixed(0)}: ${(reads / theirReads).toFixed(2)} ×`,
  );
  console.log(
    `publishes a second: ours ${published.toFixed(0)} (durable), notary-server ${theirsPublished.toFixed(0)} (memory): ${(published / theirsPublished).toFixed(2)} ×; ` +
      `processor time of one: ours ${processor.toFixed(2)} ms, notary-server ${theirProcessor.toFixed(2)} ms`,
  );
  for (const service of values.large ? [ours, theirs] : []) {
    const [took, list, look] = await largeCollection(service);
    console.log(
      `50,000 targets, ${service.name}: published in ${took.toFixed(0)} ms, listed in ${list.toFixed(1)} ms, timestamp in ${look.toFixed(2)} ms`,
    );
  }
} finally {
  await ours.close();
  await theirs.close();
  rmSync(folder, { recursive: true, force: true });
}
