/**
 * `npm run bench:trust [-- --seconds N]`: our trust service (SQLite, every publish durable) and Debian's notary-server (its memory for
 * storage) in one run, each a process of its own on loopback: warm reads of a timestamp, publishes, and a collection of 50,000 targets.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startNotaryServer, notaryServer } from '../test/fixtures/notary.ts';
import { certifiedKey, fetchJson, multipart, multipartType, post, publisher } from '../trust/notary/publisher.fixture.ts';
import type { OnlineEntries } from '../trust/notary/publisher.fixture.ts';
import { percentile } from './samples.ts';

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '3' }, rounds: { type: 'string', default: '3' } } });
const seconds = Number(values.seconds);
const connections = 8;
const folder = mkdtempSync(join(tmpdir(), 'portcullis-bench-trust-'));
const prefix = 'bench.example.com/';

interface Service {
  readonly name: string;
  readonly url: string;
  close(): Promise<void>;
}

async function startOurs(): Promise<Service> {
  const command = join(import.meta.dirname, '../cli/main.ts');
  const words = [command, 'trust', 'serve', '--listen', '127.0.0.1:0', '--data', join(folder, 'ours'), '--output', 'json'];
  const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  while (!said.includes('}')) said += String((await once(child.stdout, 'data'))[0]);
  const { url } = JSON.parse(said) as { url: string };
  return {
    name: 'ours',
    url,
    async close() {
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}

/** Each connection asks for the same answer again as soon as it has it. @returns answers a second */
async function readRate(url: string): Promise<number> {
  const { hostname, port, pathname, host } = new URL(url);
  const question = `GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
  let answers = 0;
  const end = performance.now() + seconds * 1000;
  const one = async (): Promise<void> => {
    const socket = connect(Number(port), hostname);
    await once(socket, 'connect');
    let [length, received] = [0, 0];
    await new Promise<void>((resolve, reject) => {
      socket.on('error', reject);
      socket.on('data', (chunk: Buffer) => {
        received += chunk.length;
        // All answers are as long as the first.
        if (length === 0) length = answerLength(chunk);
        if (received < length) return;
        received -= length;
        answers += 1;
        if (performance.now() < end) socket.write(question);
        else resolve();
      });
      socket.write(question);
    });
    socket.destroy();
  };
  const begin = performance.now();
  await Promise.all(Array.from({ length: connections }, one));
  return answers / ((performance.now() - begin) / 1000);
}

function answerLength(chunk: Buffer): number {
  const text = chunk.toString('latin1');
  const body = Number(/content-length: (\d+)/iu.exec(text)?.[1]);
  return text.indexOf('\r\n\r\n') + 4 + body;
}

const rootKey = certifiedKey(`${prefix}*`);

interface Begun {
  readonly address: string;
  readonly owner: ReturnType<typeof publisher>;
}

async function begin(service: Service, name: string, targets: Readonly<Record<string, string>>): Promise<Begun> {
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

/** Publishers at once, each to a collection of its own, one publish after the other. @returns publishes a second */
async function publishRate(service: Service, round: number): Promise<number> {
  const each = 40;
  const names = Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`v${index}`, `content ${index}`]));
  const lines = await Promise.all(
    Array.from({ length: connections }, async (_, index) => {
      const { address, owner } = await begin(service, `publish-${round}-${index}`, names);
      // Signed before the clock runs.
      return {
        address,
        bodies: Array.from({ length: each }, (__, at) => multipart([{ name: 'targets', bytes: owner.targets(at + 2, names) }])),
      };
    }),
  );
  const start = performance.now();
  await Promise.all(
    lines.map(async ({ address, bodies }) => {
      for (const body of bodies) {
        const { status } = await post(address, body, multipartType);
        if (status !== 200) throw new Error(`${address}: ${status}`);
      }
    }),
  );
  return (connections * each) / ((performance.now() - start) / 1000);
}

/** Milliseconds: publish of 50,000 targets, then lists (the whole file) and look-ups of the timestamp, p50. */
async function largeCollection(service: Service): Promise<readonly [number, number, number]> {
  const names = Object.fromEntries(Array.from({ length: 50_000 }, (_, index) => [`release-${index}`, `content ${index}`]));
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
  const figures = new Map<string, { reads: number[]; publishes: number[] }>();
  const warm = new Map<Service, string>();
  for (const service of [ours, theirs]) warm.set(service, (await begin(service, 'warm', { v1: 'one' })).address);
  for (let round = 0; round < Number(values.rounds); round += 1) {
    for (const service of round % 2 === 0 ? [ours, theirs] : [theirs, ours]) {
      const kept = figures.get(service.name) ?? { reads: [], publishes: [] };
      kept.reads.push(await readRate(`${warm.get(service) ?? ''}timestamp.json`));
      kept.publishes.push(await publishRate(service, round));
      figures.set(service.name, kept);
    }
  }
  const [a, b] = [figures.get('ours'), figures.get('notary-server')];
  const [reads, theirReads] = [median(a?.reads ?? []), median(b?.reads ?? [])];
  const [publishes, theirPublishes] = [median(a?.publishes ?? []), median(b?.publishes ?? [])];
  console.log(
    `warm timestamp reads a second: ours ${reads.toFixed(0)}, notary-server ${theirReads.toFixed(0)}: ${(reads / theirReads).toFixed(2)} ×`,
  );
  console.log(
    `publishes a second: ours ${publishes.toFixed(0)} (durable), notary-server ${theirPublishes.toFixed(0)} (memory): ${(publishes / theirPublishes).toFixed(2)} ×`,
  );
  for (const service of [ours, theirs]) {
    const [published, list, look] = await largeCollection(service);
    console.log(
      `50,000 targets, ${service.name}: published in ${published.toFixed(0)} ms, listed in ${list.toFixed(1)} ms, timestamp in ${look.toFixed(2)} ms`,
    );
  }
} finally {
  await ours.close();
  await theirs.close();
  rmSync(folder, { recursive: true, force: true });
}
