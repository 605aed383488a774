import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { after, before, test } from 'node:test';
import { createLogger } from '../../../base/log/index.ts';
import { inPrivateNetns, shell } from '../../engine/engine.fixture.ts';
import { readServices } from '../description/read.ts';
import type { Service } from '../model/model.ts';
import { becomeRouter, openHost } from '../switch/hosts.fixture.ts';
import type { TestHost } from '../switch/hosts.fixture.ts';
import type { ServiceList } from './protocol.ts';
import { startServices } from './services.ts';
import type { Services } from './services.ts';

/**
 * Tests the whole path on a real kernel: description, database, nf_tables, and connections of a client
 * through this namespace to backends.
 */
if (inPrivateNetns(import.meta.filename, 180_000)) {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-services-'));
  const files = join(folder, 'services');
  const databasePath = join(folder, 'network.db');
  let services: Services;
  let client: TestHost;
  let backends: readonly TestHost[];

  const start = async (ended: readonly string[] = []): Promise<void> => {
    services = await startServices(
      { databasePath, balancer: 'auto', folder: files, ended },
      createLogger({ level: 'error' }),
    );
  };
  const described = (name: string, body: string): Service => {
    const text = `apiVersion: portcullis.dev/v1alpha1\nkind: Service\nmetadata: { name: ${name} }\n${body}`;
    const { described: found, problems } = readServices([{ file: name, text }]);
    assert.deepEqual(problems, []);
    return (found[0] as { service: Service }).service;
  };
  const web = (more: string): Service =>
    described('web', `addresses: [10.96.0.1, "fd96::1"]\nports: [80:8080]\ndrainGrace: 2s\n${more}`);
  const listed = async (): Promise<ServiceList> =>
    JSON.parse(await services.ask(JSON.stringify({ do: 'list' }))) as ServiceList;
  /** Returns how often each backend answers, by name. */
  const answering = async (address: string, port = 80, times = 24): Promise<Record<string, number>> => {
    const counts: Record<string, number> = {};
    for (const greeting of await client.greet(address, port, times)) {
      const name = greeting.split(' ')[0] ?? '';
      counts[name] = (counts[name] ?? 0) + 1;
    }
    return counts;
  };

  before(async () => {
    shell('ip link set lo up');
    becomeRouter();
    client = await openHost('client', 1, 2);
    backends = [await openHost('b1', 2, 2), await openHost('b2', 2, 3)];
    for (const backend of backends)
      for (const address of [backend.address, backend.address6]) await backend.serve('tcp', address, 8080);
    await start();
  });

  after(async () => {
    await services.close();
    await Promise.all([client, ...backends].map((host) => host.stop()));
    rmSync(folder, { recursive: true, force: true });
  });

  test('a service of both families answers by its backends in turn', async () => {
    assert.deepEqual(
      await services.put('command', [web('backends: [10.2.0.2, 10.2.0.3, "fd02::2", "fd02::3"]')]),
      [],
    );
    assert.deepEqual(await answering('10.96.0.1'), { b1: 12, b2: 12 });
    assert.deepEqual(await answering('fd96::1'), { b1: 12, b2: 12 });
  });

  test('a drained backend keeps its connection for the grace period, gets no new one, and comes back', async () => {
    await services.put('command', [web('backends: [10.2.0.2, 10.2.0.3, "fd02::2", "fd02::3"]')]);
    const streams = [await client.stream('10.96.0.1', 80), await client.stream('10.96.0.1', 80)];
    const kept = streams.find(({ greeting }) => greeting.startsWith('b1'));
    assert.ok(kept);
    await services.ask(JSON.stringify({ do: 'drain', name: 'web', addresses: ['10.2.0.2'], is: true }));
    assert.deepEqual(await answering('10.96.0.1'), { b2: 24 });
    const drained = async (): Promise<unknown> =>
      (await listed()).services[0]?.backends
        .filter(({ address }) => address === '10.2.0.2')
        .map(({ state, weight }) => [state, weight]);
    assert.deepEqual(await drained(), [['draining', 0]]);
    // Once its grace period is over it is cut.
    for (const deadline = Date.now() + 30_000; (await client.report(kept.id))?.failure === undefined;) {
      if (Date.now() > deadline) assert.fail('the connection to a drained backend goes on');
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    assert.equal(
      (await client.report(streams.find((each) => each !== kept)?.id ?? -1))?.failure,
      undefined,
      'only that one',
    );
    assert.deepEqual(await drained(), [['drained', 0]]);
    await services.ask(JSON.stringify({ do: 'drain', name: 'web', addresses: ['10.2.0.2'], is: false }));
    assert.deepEqual(await answering('10.96.0.1'), { b1: 12, b2: 12 });
  });

  test('an address is recognized in any notation, and counts once if it is repeated', async () => {
    const drain = async (addresses: readonly string[], is: boolean): Promise<unknown> =>
      JSON.parse(await services.ask(JSON.stringify({ do: 'drain', name: 'web', addresses, is })));
    const answer = { service: 'web', backends: ['fd02::2'], graceSeconds: 2 };
    assert.deepEqual(await drain(['FD02:0::2', 'fd02::2'], true), answer);
    assert.deepEqual(await answering('fd96::1', 80, 4), { b2: 4 });
    assert.deepEqual(await drain(['FD02:0:0::2'], false), answer);
    assert.deepEqual(await answering('fd96::1'), { b1: 12, b2: 12 });
    await assert.rejects(
      drain(['10.2.0.2:8080'], true),
      /has no backend 10\.2\.0\.2:8080; use addresses .* without a port/u,
    );
  });

  test('connections continue while the thread is gone, and the next thread continues from the durable state', async () => {
    const stream = await client.stream('10.96.0.1', 80);
    await services.close();
    assert.deepEqual(await answering('10.96.0.1'), { b1: 12, b2: 12 });
    await start();
    assert.deepEqual(await answering('10.96.0.1'), { b1: 12, b2: 12 });
    assert.equal((await client.end(stream.id))?.failure, undefined);
  });

  test('servers that another program removed are recreated', async () => {
    shell('nft delete table ip portcullis_services');
    for (const deadline = Date.now() + 30_000; ;) {
      if (
        Object.keys(await answering('10.96.0.1', 80, 2))
          .toSorted()
          .join() === 'b1,b2'
      )
        break;
      if (Date.now() > deadline) assert.fail('the rules are not restored');
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    assert.ok((await services.figures()).repairs > 0);
  });

  test('a change that finds the rules removed counts the repair before it is applied', async () => {
    const before = (await services.figures()).repairs;
    for (let round = 0; round < 5; round += 1) {
      shell('nft flush ruleset');
      await services.put('command', [
        described(`late-${round}`, `addresses: [10.96.7.${round}]\nports: [80]\n`),
      ]);
      assert.ok((await services.figures()).repairs > before + round);
    }
    assert.deepEqual(await answering('10.96.0.1', 80, 2), { b1: 1, b2: 1 });
    await services.remove(
      'command',
      Array.from({ length: 5 }, (_, round) => `late-${round}`),
    );
  });

  test('a backend whose port is closed is taken out, and comes back', async () => {
    const check = 'healthCheck: { tcp: {}, interval: 1s, timeout: 1s, failures: 2, successes: 1 }';
    await services.put('command', [
      described(
        'checked',
        `addresses: [10.96.0.2]\nports: [80:8080]\nbackends: [10.2.0.2, "10.2.0.3:8081"]\n${check}`,
      ),
    ]);
    await comesAbout(async () => Object.keys(await answering('10.96.0.2', 80, 8)).join() === 'b1');
    await backends[1]?.serve('tcp', '10.2.0.3', 8081);
    await comesAbout(
      async () =>
        Object.keys(await answering('10.96.0.2', 80, 8))
          .toSorted()
          .join() === 'b1,b2',
    );
  });

  test('files are followed; an error in them removes no service', async () => {
    mkdirSync(files);
    const text = (name: string, address: string, backend: string): string =>
      `apiVersion: portcullis.dev/v1alpha1\nkind: Service\nmetadata: { name: ${name} }\naddresses: [${address}]\nports: [80:8080]\nbackends: [${backend}]\n`;
    const place = join(files, 'a.yaml');
    writeFileSync(
      place,
      `${text('one', '10.96.1.1', '10.2.0.2')}---\n${text('two', '10.96.1.2', '10.2.0.3')}`,
    );
    await comesAbout(async () => (await answering('10.96.1.2', 80, 1))['b2'] === 1);
    // One has another backend, and two has an error: nothing of the file is in force.
    const problems = async (): Promise<string> => (await listed()).problems.join('\n');
    writeFileSync(
      place,
      `${text('one', '10.96.1.1', '10.2.0.3')}---\n${text('two', '10.96.1.300', '10.2.0.3')}`,
    );
    await comesAbout(async () =>
      /a\.yaml:11:13: addresses\[0\]: "10\.96\.1\.300" is not an address/u.test(await problems()),
    );
    assert.deepEqual(
      [await answering('10.96.1.1', 80, 1), await answering('10.96.1.2', 80, 1)],
      [{ b1: 1 }, { b2: 1 }],
    );
    // Truncated first, as a shell does.
    writeFileSync(place, '# nothing\n');
    await comesAbout(async () => /a\.yaml:1:1: the file is empty/u.test(await problems()));
    assert.deepEqual(
      [await answering('10.96.1.1', 80, 1), await answering('10.96.1.2', 80, 1)],
      [{ b1: 1 }, { b2: 1 }],
    );
    await services.close();
    await start();
    assert.match(await problems(), /a\.yaml:1:1: the file is empty.*its last good version stays in force/u);
    assert.deepEqual(
      [await answering('10.96.1.1', 80, 1), await answering('10.96.1.2', 80, 1)],
      [{ b1: 1 }, { b2: 1 }],
      'after a restart',
    );
    // Three wants the address of web: it is refused, and the others of the file are not.
    writeFileSync(
      place,
      `${text('one', '10.96.1.1', '10.2.0.3')}---\n${text('two', '10.96.1.2', '10.2.0.3')}---\n${text('three', '10.96.0.1', '10.2.0.3')}`,
    );
    await comesAbout(async () => (await answering('10.96.1.1', 80, 1))['b2'] === 1);
    assert.match(
      await problems(),
      /a\.yaml:18:13: three: addresses\[0\]: 10\.96\.0\.1 port 80\/tcp belongs to the service web \(source: command\)/u,
    );
    writeFileSync(place, text('one', '10.96.1.1', '10.2.0.3'));
    await comesAbout(
      async () =>
        !(await listed()).services.some(({ name, source }) => name === 'two' && source !== undefined),
    );
  });

  test('services of a source that is no longer used are removed at the next start', async () => {
    assert.deepEqual(
      await services.put('kubernetes', [
        described('gone', 'addresses: [10.96.3.1]\nports: [80:8080]\nbackends: [10.2.0.2]\n'),
      ]),
      [],
    );
    assert.deepEqual(await answering('10.96.3.1', 80, 1), { b1: 1 });
    await services.close();
    await start();
    assert.deepEqual(await answering('10.96.3.1', 80, 1), { b1: 1 }, 'a restart alone removes no service');
    await services.close();
    await start(['kubernetes']);
    assert.deepEqual(await answering('10.96.3.1', 80, 1), { ECONNREFUSED: 1 });
    assert.deepEqual(await answering('10.96.0.1', 80, 2), { b1: 1, b2: 1 }, 'others stand');
  });

  test('removed services leave nothing in the kernel', async () => {
    rmSync(join(files, 'a.yaml'));
    await comesAbout(async () => !(await listed()).services.some(({ source }) => source === 'files'));
    await services.remove('command', ['web', 'checked']);
    assert.deepEqual(await answering('10.96.0.1', 80, 1), { ECONNREFUSED: 1 });
    await comesAbout(async () => (await services.figures()).virtualServers === 0);
  });
}

async function comesAbout(holds: () => Promise<boolean>, withinMs = 60_000): Promise<void> {
  for (const deadline = Date.now() + withinMs; !(await holds());) {
    if (Date.now() > deadline) assert.fail(`the condition was not met in time: ${holds.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
