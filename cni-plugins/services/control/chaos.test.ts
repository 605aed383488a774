import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { flagsOfSources } from '../../../test/fixtures/bundled-workers-flag.ts';
import { createLogger } from '../../../base/log/index.ts';
import { chooseBalancer } from './choose.ts';
import type { Balancer } from '../model/model.ts';
import { becomeRouter, openHost, shell } from '../switch/hosts.fixture.ts';
import type { ServiceList } from './protocol.ts';
import { startServices } from './services.ts';

/**
 * Kills a process with kill -9 at random moments while it changes services, or while it only starts. After
 * each kill, the process that is started next must be in this state: the acknowledged services answer, with
 * their backends and no others, and the kernel has no virtual server that is not described. `npm run
 * test:services-chaos` kills 200 times. Where the kernel has IPVS, PORTCULLIS_SERVICE_BALANCERS=nftables,ipvs
 * also switches the balancer all the time.
 */
const kills = Number(process.env['PORTCULLIS_SERVICE_KILLS'] ?? '4');
const seed = Number(process.env['PORTCULLIS_SERVICE_SEED'] ?? '7');
const kinds = (process.env['PORTCULLIS_SERVICE_BALANCERS'] ?? 'nftables').split(',') as Balancer['kind'][];
/**
 * The longest time until a started process comes to rest. In an emulated machine (test/vm) everything takes
 * longer.
 */
const restMs = process.env['IN_VM'] === undefined ? 120_000 : 600_000;
const names: Readonly<Record<string, string>> = { '10.2.0.2': 'b1', '10.2.0.3': 'b2' };

let state = seed >>> 0;
/** Returns a number uniform in [0, 1), from a seed (mulberry32). */
const random = (): number => {
  state = (state + 0x6d2b79f5) >>> 0;
  let mixed = Math.imul(state ^ (state >>> 15), state | 1);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
};

/** The output of the process: the last completed state, and the state that was begun after it. */
interface ReportedState {
  readonly stands: readonly string[];
  readonly begun?: readonly string[];
}

test(`${kills} kills leave no stale rule and no black hole`, async (context) => {
  for (const kind of kinds) chooseBalancer(kind);
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-services-chaos-'));
  context.after(() => rmSync(folder, { recursive: true }));
  const databasePath = join(folder, 'network.db');
  becomeRouter();
  const client = await openHost('client', 1, 2);
  const backends = [await openHost('b1', 2, 2), await openHost('b2', 2, 3)];
  context.after(() => Promise.all([client, ...backends].map((host) => host.stop())));
  for (const backend of backends) await backend.serve('tcp', backend.address, 8080);
  const reported = new Map<number, ReportedState>();
  const program = new URL('./chaos.actor.fixture.ts', import.meta.url).pathname;
  const environment = { ...process.env, NODE_COMPILE_CACHE: join(folder, 'compiled') };
  // A killed process keeps no compile cache, and compiling takes most of the time in an emulated machine.
  execFileSync(process.execPath, [...flagsOfSources(), program, databasePath, '0', kinds.join()], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: environment,
  });
  let running: ChildProcess | undefined;
  context.after(() => running?.kill('SIGKILL'));
  let acts = 0;
  let underWay = 0;
  /** How long a start takes on this machine, so that kills come at any moment of it. */
  let startMs = 2000;

  for (let count = 1; count <= kills; count += 1) {
    const begun = performance.now();
    const order = random() < 0.5 ? kinds : kinds.toReversed();
    const child = spawn(
      process.execPath,
      [...flagsOfSources(), program, databasePath, String(Math.floor(random() * 1000)), order.join()],
      {
        stdio: ['pipe', 'pipe', 'inherit'],
        env: environment,
      },
    );
    const ended = once(child, 'close');
    running = child;
    // It may be dead already when it gets the signal to continue.
    child.stdin.on('error', () => undefined);
    let rest = '';
    let waits = 'the process has not begun';
    let isSettled: (list: ServiceList) => void = () => undefined;
    const settled = new Promise<ServiceList>((resolve) => (isSettled = resolve));
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const [mark, number = '', ...given] = line.split(' ');
        const one = reported.get(Number(number)) ?? { stands: [] };
        if (mark === '+')
          reported.set(Number(number), { ...one, begun: given.filter((word) => word !== '') });
        else if (mark === '=') {
          reported.set(Number(number), { stands: one.begun ?? [] });
          acts += 1;
        } else if (mark === 'waits') waits = line;
        else isSettled(JSON.parse(line.slice('settled '.length)) as ServiceList);
      }
    });
    // One of four is killed while it starts.
    if (random() < 0.25 && count > 1) await pause(random() * startMs);
    else {
      const late = new AbortController();
      const found = await Promise.race([settled, ended, pause(restMs, 'late', { signal: late.signal })]);
      late.abort();
      assert.ok(
        typeof found === 'object' && 'services' in found,
        `the state did not settle: ${JSON.stringify(found)}, ${waits}`,
      );
      startMs = performance.now() - begun;
      await look(found);
      child.stdin.write('go on\n');
      // Even with few kills, one comes after some work was done.
      for (let waited = 0; acts === 0 && waited < restMs; waited += 5) await pause(5);
      await pause(random() * Math.max(150, startMs / 4));
    }
    child.kill('SIGKILL');
    await ended;
    assert.equal(child.signalCode, 'SIGKILL', 'the process failed before it was killed');
    underWay += [...reported.values()].filter(({ begun: one }) => one !== undefined).length;
    if (count % 10 === 0)
      process.stdout.write(`# ${count} kills: ${acts} acts, ${underWay} in progress at a kill\n`);
  }
  assert.ok(acts > 0, 'nothing was done');
  if (kills >= 20) assert.ok(underWay > 0, 'no kill happened during a change');
  process.stdout.write(`# seed ${seed}: ${kills} kills, ${acts} acts, ${underWay} in progress at a kill\n`);

  const last = await startServices(
    { databasePath, balancer: kinds[0] ?? 'nftables' },
    createLogger({ level: 'error' }),
  );
  await last.remove('command', ['s0', 's1', 's2', 's3', 's4', 's5']);
  for (
    const deadline = Date.now() + 120_000;
    (await last.figures()).virtualServers > 0 ||
    kinds.some((kind) => inKernel[kind]().length > 0) ||
    kinds.slice(1).some((kind) => remains[kind].test(shell(whatStands)));
  ) {
    assert.ok(Date.now() < deadline, 'something is left');
    await pause(100);
  }
  await last.close();

  /**
   * Checks the state for a client and in the kernel. The state that the process reports must be the state
   * that it printed.
   */
  async function look({ balancer, services }: ServiceList): Promise<void> {
    const existing = new Map(
      services.map(({ name, backends: each }) => [name, each.map(({ address }) => address).toSorted()]),
    );
    for (const kind of kinds) {
      const expected =
        kind === balancer ? [...existing.keys()].map((name) => `10.96.2.${name.slice(1)}`).toSorted() : [];
      assert.deepEqual(inKernel[kind](), expected, `a stale or missing rule of ${kind}`);
      if (kind !== balancer) assert.doesNotMatch(shell(whatStands), remains[kind]);
    }
    for (const [number, { stands: exists, begun }] of reported) {
      const found = existing.get(`s${number}`) ?? [];
      const possible = [exists, ...(begun === undefined ? [] : [begun])].map((each) =>
        each.toSorted().join(),
      );
      assert.ok(
        possible.includes(found.join()),
        `s${number}: ${found.join()} is neither of ${possible.join(' · ')}`,
      );
      reported.set(number, { stands: found });
      // An address without a service leads wherever it is routed.
      if (found.length === 0) continue;
      const answers = [
        ...new Set(
          (await client.greet(`10.96.2.${number}`, 80, 4)).map((greeting) => greeting.split(' ')[0] ?? ''),
        ),
      ];
      const expected = found.map((address) => names[address] ?? '');
      assert.deepEqual(answers.toSorted(), expected.toSorted(), `s${number}`);
    }
  }
});

/** A balancer that is not in use leaves nothing, with addresses or without. */
const whatStands = 'ip -brief link; nft list tables; ip route show table local';
const remains: Readonly<Record<Balancer['kind'], RegExp>> = {
  nftables: /portcullis_services$/mu,
  ipvs: /portcullis-ipvs/u,
};

/** Returns the virtual addresses that the kernel holds, for each balancer. */
const inKernel: Readonly<Record<Balancer['kind'], () => string[]>> = {
  nftables() {
    const map = shell('nft list map ip portcullis_services servers 2>/dev/null || true');
    return [...map.matchAll(/(10\.96\.2\.\d+) \. /gu)].map(([, address = '']) => address).toSorted();
  },
  ipvs() {
    const served = [...shell('cat /proc/net/ip_vs').matchAll(/^TCP {2}0A6002([0-9A-F]{2}):0050 /gmu)].map(
      ([, last = '']) => `10.96.2.${Number.parseInt(last, 16)}`,
    );
    const held = [
      ...shell('ip -o address show dev portcullis-ipvs 2>/dev/null || true').matchAll(
        /(10\.96\.2\.\d+)\/32/gu,
      ),
    ];
    return [...new Set([...served, ...held.map(([, address = '']) => address)])].toSorted();
  },
};
