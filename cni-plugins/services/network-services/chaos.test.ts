import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { after, test } from 'node:test';
import { flagsOfSources } from '../../../test/fixtures/bundled-workers-flag.ts';
import { createLogger } from '../../../base/log/index.ts';
import { openReadOnly } from '../../../base/storage/index.ts';
import { inPrivateNetns, shell, tried } from '../../engine/engine.fixture.ts';
import { bridgeConf, createPluginFixture } from '../../plugin-engine/plugin-engine.fixture.ts';
import type { Conf, Of } from '../../plugin-engine/plugin-engine.fixture.ts';
import { startServices } from '../control/services.ts';

/**
 * Kills the process that maintains services with kill -9 at random moments, while members join and leave. The
 * process that starts next leaves no leased or answered address, no name and no rule without a service. Each
 * service with members has all of these. `npm run test:network-services-chaos` kills 200 times.
 */
const kills = Number(process.env['PORTCULLIS_SERVICE_KILLS'] ?? '3');
const seed = Number(process.env['PORTCULLIS_SERVICE_SEED'] ?? '11');
const program = new URL('./chaos.actor.fixture.ts', import.meta.url).pathname;

if (inPrivateNetns(import.meta.filename, 120_000 + kills * 10_000)) {
  const fixture = createPluginFixture();
  const { databasePath, add, del, pin } = fixture;
  let running: ChildProcess | undefined;
  after(async () => {
    running?.kill('SIGKILL');
    await fixture.end();
  });

  let state = seed >>> 0;
  /** Returns a number uniform in [0, 1), from a seed (mulberry32). */
  const random = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const rows = (sql: string): string[] => {
    const database = openReadOnly(databasePath);
    try {
      return [...database.each(sql)].map((row) => Object.values(row).join(' '));
    } finally {
      database.close();
    }
  };
  const conf = (service: string): Conf =>
    bridgeConf({
      ingress: { namespaces: ['*'], ports: ['30000-32767'] },
      runtimeConfig: {
        services: [{ name: service, ports: [80], ingressPorts: [`${service === 'a' ? 30_080 : 30_081}:80`] }],
      },
    });

  const members = Array.from({ length: 4 }, (_, at): Of & { readonly service: string } => ({
    id: `m${at}`,
    netns: pin(`m${at}`),
    service: at % 2 === 0 ? 'a' : 'b',
  }));
  const joined = new Set<string>();
  const turn = async (): Promise<void> => {
    const member = members[Math.floor(random() * members.length)];
    if (member === undefined) return;
    if (joined.delete(member.id)) return del([conf(member.service)], member);
    joined.add(member.id);
    await add([conf(member.service)], member);
  };

  test(`${kills} kills leave no address and no name of a service that does not exist`, async () => {
    let turns = 0;
    for (let kill = 0; kill < kills; kill += 1) {
      const child = spawn(process.execPath, [...flagsOfSources(), program, databasePath], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      running = child;
      // Half of them while it starts, half while it follows.
      if (random() < 0.5) await once(child.stdout, 'data');
      const until = performance.now() + random() * 600;
      do {
        await turn();
        turns += 1;
        await pause(random() * 40);
      } while (performance.now() < until);
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
      assert.equal(child.signalCode, 'SIGKILL', 'the process failed before it was killed');
      if (random() < 0.25)
        await started(() => comesTo(servicesNow(), `after ${kill + 1} kills and ${turns} turns`));
    }
    await started(async () => {
      const what = `after ${kills} kills and ${turns} turns`;
      for (const member of members) if (!joined.has(member.id)) await add([conf(member.service)], member);
      await comesTo(['a', 'b'], what);
      for (const member of members) await del([conf(member.service)], member);
      await comesTo([], what);
    });
  });

  /** Runs `body` while the services are maintained in this process, and no process is killed. */
  async function started(body: () => Promise<void>): Promise<void> {
    const services = await startServices(
      { databasePath, balancer: 'nftables' },
      createLogger({ level: 'error' }),
    );
    try {
      await body();
    } finally {
      await services.close();
    }
  }

  /** Returns the services that have members. */
  function servicesNow(): readonly string[] {
    return [...new Set(members.flatMap(({ id, service }) => (joined.has(id) ? [service] : [])))].toSorted();
  }

  async function comesTo(wanted: readonly string[], what: string): Promise<void> {
    const expected = JSON.stringify({
      standing: wanted,
      leased: wanted.map((name) => `service.${name}`),
      named: wanted,
      answered: wanted.length,
      scoped: wanted.length > 0,
    });
    for (const deadline = Date.now() + 60_000; reported() !== expected; await pause(50))
      if (Date.now() > deadline) assert.equal(reported(), expected, `${what}, seed ${seed}`);
  }

  function reported(): string {
    return JSON.stringify({
      standing: rows('SELECT service FROM network_service ORDER BY service'),
      leased: rows(
        "SELECT container_id FROM attachment WHERE container_id LIKE 'service.%' ORDER BY container_id",
      ),
      named: rows("SELECT DISTINCT name FROM name WHERE holder LIKE 'service/%' ORDER BY name"),
      answered: (shell('ip -o -4 address show dev br0').match(/\/32 /gu) ?? []).length,
      scoped: tried('nft list table ip portcullis_service_networks') !== undefined,
    });
  }
}
