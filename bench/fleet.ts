/**
 * `npm run bench:fleet`: measures the API of the aggregator with 100,000 verdicts of 1,000 nodes
 * (`FLEET_VERDICTS=N` sets another number): the time from the request to the whole answer, for lists and
 * searches that find much, little and nothing, and for a page in the middle.
 */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startFleetService } from '../fleet/index.ts';
import { openFleetStore } from '../fleet/store/store.ts';
import type { AcceptedRow } from '../fleet/store/node-record.ts';

const verdicts = Number(process.env['FLEET_VERDICTS'] ?? 100_000);
const nodes = 1000;
const folder = mkdtempSync(join(tmpdir(), 'pc-fleet-bench-'));
const hex = (text: string): string => createHash('sha256').update(text).digest('hex');
const start = Date.now() - verdicts * 1000;
const codes = ['TRUST_REQUIREMENT_UNMET', 'TRUST_SIGNATURE_WRONG', 'TRUST_NO_RULE'];

try {
  const filling = performance.now();
  await fill();
  print('store', performance.now() - filling, verdicts);
  const service = await startFleetService({
    listen: '127.0.0.1:0',
    data: folder,
    keepDays: 400,
    keepBytes: 2 ** 40,
  });
  const middle = new Date(start + (verdicts / 2) * 1000).toISOString();
  for (const [name, path] of [
    ['newest page', 'verdicts'],
    ['page of 1,000', 'verdicts?most=1000'],
    ['page in the middle', `verdicts?until=${middle}`],
    ['outcome=deny', 'verdicts?outcome=deny'],
    ['image, many', 'verdicts?image=team'],
    ['image, one', 'verdicts?image=team-7/app-77:'],
    ['image, none', 'verdicts?image=nowhere'],
    ['digest', `verdicts?image=${hex('image 33').slice(0, 20)}`],
    ['namespace', 'verdicts?namespace=ns-3'],
    ['reason', `verdicts?reason=${codes[0]}`],
    ['reason and namespace', `verdicts?reason=${codes[1]}&namespace=ns-3`],
    ['node', 'verdicts?node=node-0500'],
    ['since', `verdicts?since=${middle}&outcome=undecided`],
    ['count', 'verdicts/count'],
    ['nodes', 'nodes?most=1000'],
    ['images', 'images'],
    ['alerts', 'alerts'],
    ['summary', 'summary'],
    ['metrics', '../metrics'],
  ] as const) {
    const times: number[] = [];
    let length = 0;
    for (let round = 0; round < 7; round += 1) {
      const began = performance.now();
      length = (await (await fetch(`${service.url}/v1/${path}`)).text()).length;
      times.push(performance.now() - began);
    }
    times.sort((a, b) => a - b);
    print(name, times[3] ?? 0, length, times.at(-1));
  }
  await service.close();
} finally {
  rmSync(folder, { recursive: true });
}

/**
 * Stores rows as a node's request does, 100 rows in each. The chain is not computed: nothing here follows it.
 */
async function fill(): Promise<void> {
  const store = await openFleetStore(folder);
  const each = Math.ceil(verdicts / nodes);
  for (let node = 0; node < nodes; node += 1) {
    const name = `node-${String(node).padStart(4, '0')}`;
    const rows = Array.from({ length: each }, (_, index) => rowOf(node, index));
    const running = Array.from({ length: 20 }, (_, index) => ({
      id: `${name}-${index}`,
      namespace: `ns-${index % 10}`,
      pod: `pod-${index}`,
      name: 'app',
      reference: `registry.example.com/team-${index % 50}/app-${(node + index) % 500}:1`,
      imageId: `sha256:${hex(`image ${index}`)}`,
      verdict: '',
    }));
    const summary = {
      version: '1',
      enforcement: 'pass',
      networkReady: true,
      outOfPolicy: 0,
      degraded: 0,
      running: 20,
    };
    await store.keep({
      node: {
        ...{ id: 0, name, labels: {}, seen: Date.now(), seq: each, hash: hex(name), key: '' },
        ...{ signed: 0, note: '', bytes: 0 },
      },
      rows,
      problems: [],
      state: {
        json: JSON.stringify({ running }),
        summary: JSON.stringify(summary),
        running: JSON.stringify(
          running.map(({ reference, imageId, verdict }) => [reference, imageId, verdict, 1]),
        ),
        upcoming: '',
      },
    });
  }
  await store.close();
}

function rowOf(node: number, index: number): AcceptedRow {
  const number = index * nodes + node;
  const image = (number * 7919) % 500;
  const outcome = number % 10 === 0 ? 'deny' : number % 97 === 0 ? 'undecided' : 'admit';
  const reference = `registry.example.com/team-${image % 50}/app-${image}:1`;
  const code = codes[number % codes.length] ?? '';
  const json = JSON.stringify({
    outcome,
    reference,
    reasons: { counted: false, text: 'x'.repeat(2000), code },
  });
  return {
    seq: index + 1,
    entry: JSON.stringify({ kind: 'verdict', number, reference, outcome, padding: 'x'.repeat(300) }),
    evidence: '',
    hash: hex(String(number)),
    verdict: {
      id: `sha256:${hex(`${image} ${outcome} ${number % 1000}`)}`,
      time: start + number * 1000,
      outcome,
      reference,
      digest: `sha256:${hex(`image ${image}`)}`,
      namespace: `ns-${number % 20}`,
      revision: `sha256:${hex('policy')}`,
      text: { json, codes: [code] },
    },
  };
}

function print(name: string, milliseconds: number, count: number, worst?: number): void {
  const most = worst === undefined ? '' : `  worst ${worst.toFixed(1)} ms`;
  process.stdout.write(`${name.padEnd(24)} ${milliseconds.toFixed(1).padStart(9)} ms  ${count}${most}\n`);
}
