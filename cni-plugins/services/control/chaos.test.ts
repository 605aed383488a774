import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createLogger } from '../../../base/log/index.ts';
import { inPrivateNetns, shell } from '../../attach/engine.fixture.ts';
import { becomeRouter, openHost } from '../switch/hosts.fixture.ts';
import type { ServiceList } from './protocol.ts';
import { startServices } from './services.ts';

/**
 * kill -9 at random moments of a process that changes services, or that only starts. After each: what was told to stand answers, with its backends and
 * no other; the kernel has no virtual server that nobody describes. `npm run test:services-chaos` kills 200 times.
 */
const kills = Number(process.env['PORTCULLIS_SERVICE_KILLS'] ?? '4');
const seed = Number(process.env['PORTCULLIS_SERVICE_SEED'] ?? '7');
const names: Readonly<Record<string, string>> = { '10.2.0.2': 'b1', '10.2.0.3': 'b2' };

let state = seed >>> 0;
/** Uniform in [0, 1), of a seed (mulberry32). */
const random = (): number => {
  state = (state + 0x6d2b79f5) >>> 0;
  let mixed = Math.imul(state ^ (state >>> 15), state | 1);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
};

/** What was told: the last that stands, and what was begun after it. */
interface Told {
  stands: readonly string[];
  begun?: readonly string[];
}

if (inPrivateNetns(import.meta.filename, 120_000 + kills * 30_000)) {
  test(`${kills} kills leave no stale rule and no black hole`, async (context) => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-services-chaos-'));
    const databasePath = join(folder, 'network.db');
    shell('ip link set lo up');
    becomeRouter();
    const client = await openHost('client', 1, 2);
    const backends = [await openHost('b1', 2, 2), await openHost('b2', 2, 3)];
    context.after(() => Promise.all([client, ...backends].map((host) => host.stop())));
    for (const backend of backends) await backend.serve('tcp', backend.address, 8080);
    const told = new Map<number, Told>();
    const program = new URL('./chaos.actor.fixture.ts', import.meta.url).pathname;
    let acts = 0;
    let underWay = 0;

    for (let count = 1; count <= kills; count += 1) {
      const child = spawn(process.execPath, [program, databasePath, String(Math.floor(random() * 1000))], {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...process.env, NODE_COMPILE_CACHE: join(folder, 'compiled') },
      });
      const ended = once(child, 'close');
      let rest = '';
      let isStarted: () => void = () => undefined;
      const started = new Promise<void>((resolve) => (isStarted = resolve));
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        const lines = (rest + text).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) {
          const [mark, number = '', ...given] = line.split(' ');
          const one = told.get(Number(number)) ?? { stands: [] };
          if (mark === '+') told.set(Number(number), { ...one, begun: given.filter((word) => word !== '') });
          if (mark === '=') {
            told.set(Number(number), { stands: one.begun ?? [] });
            acts += 1;
          }
          if (line === 'started') isStarted();
        }
      });
      // One of four is killed while it starts.
      if (random() < 0.25 && count > 1) await new Promise((resolve) => setTimeout(resolve, random() * 400));
      else {
        await Promise.race([started, ended]);
        await new Promise((resolve) => setTimeout(resolve, random() * 150));
      }
      child.kill('SIGKILL');
      await ended;
      assert.equal(child.signalCode, 'SIGKILL', 'it failed by itself');
      underWay += [...told.values()].filter(({ begun }) => begun !== undefined).length;
      await look();
    }
    assert.ok(acts > 0, 'nothing was done');
    process.stdout.write(`# seed ${seed}: ${acts} acts, ${underWay} under way at the kills\n`);

    const last = await startServices({ databasePath, balancer: 'nftables' }, createLogger({ level: 'error' }));
    await last.remove('command', ['s0', 's1', 's2', 's3', 's4', 's5']);
    await comesAbout(async () => (await last.figures()).virtualServers === 0);
    assert.deepEqual(inKernel(), []);
    await last.close();
    rmSync(folder, { recursive: true });

    /** As the next daemon finds it. */
    async function look(): Promise<void> {
      const services = await startServices({ databasePath, balancer: 'nftables' }, createLogger({ level: 'error' }));
      // An operator's word that was half said.
      for (const { name, source } of (JSON.parse(await services.ask('{"do":"list"}')) as ServiceList).services)
        if (source !== undefined) await services.ask(JSON.stringify({ do: 'drain', name, addresses: [], is: false }));
      const list = async (): Promise<ServiceList['services']> => (JSON.parse(await services.ask('{"do":"list"}')) as ServiceList).services;
      await comesAbout(async () =>
        (await list()).every(({ source, backends: each }) => source !== undefined && each.every(({ state: one }) => one === 'in service')),
      );
      const standing = new Map((await list()).map(({ name, backends: each }) => [name, each.map(({ address }) => address).toSorted()]));
      assert.deepEqual(inKernel(), [...standing.keys()].map((name) => `10.96.2.${name.slice(1)}`).toSorted(), 'a stale rule');
      for (const [number, { stands, begun }] of told) {
        const found = standing.get(`s${number}`) ?? [];
        const possible = [stands, ...(begun === undefined ? [] : [begun])].map((each) => each.toSorted().join());
        assert.ok(possible.includes(found.join()), `s${number}: ${found.join()} is neither of ${possible.join(' · ')}`);
        told.set(number, { stands: found });
        // An address that nobody has leads wherever it is routed to.
        if (found.length === 0) continue;
        const answers = [...new Set((await client.greet(`10.96.2.${number}`, 80, 4)).map((greeting) => greeting.split(' ')[0] ?? ''))];
        const expected = found.map((address) => names[address] ?? '');
        assert.deepEqual(answers.toSorted(), expected.toSorted(), `s${number}`);
      }
      await services.close();
    }
  });
}

/** Virtual addresses that the kernel holds. */
function inKernel(): string[] {
  const map = shell('nft list map ip portcullis_services servers 2>/dev/null || true');
  return [...map.matchAll(/(10\.96\.2\.\d+) \. /gu)].map(([, address = '']) => address).toSorted();
}

async function comesAbout(holds: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 60_000; !(await holds());) {
    if (Date.now() > deadline) assert.fail(`it did not come to pass: ${holds.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
