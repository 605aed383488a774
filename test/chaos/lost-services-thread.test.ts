import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createLogger } from '../../base/log/index.ts';
import { eventually, inPrivateNetns, shell } from '../../cni-plugins/engine/engine.fixture.ts';
import { startServices } from '../../cni-plugins/index.ts';
import type { Services } from '../../cni-plugins/index.ts';
import { readServices } from '../../cni-plugins/services/description/read.ts';
import type { Service } from '../../cni-plugins/services/model/model.ts';
import { chosenSends } from './chosen-sends.ts';
import { createFaultControl } from './faults/orders.ts';
import type { FaultControl, FaultKind } from './faults/orders.ts';

/**
 * The thread of services ends in the middle of a change, at each message to the kernel in turn: the caller
 * gets an error, the next thread starts automatically, and the kernel matches the database.
 */
const folderOf = 'PORTCULLIS_TEST_SERVICE_ORDERS';
const folder = process.env[folderOf] ?? mkdtempSync(join(tmpdir(), 'portcullis-lost-services-'));
const control: FaultControl = createFaultControl(folder);
if (process.env[folderOf] === undefined) after(() => rmSync(folder, { recursive: true }));
process.env[folderOf] = folder;
// The process in which the tests run loads the fault points first.
Object.assign(process.env, control.environment);

/** A thread that was lost is started again after a second, and on a busy machine it starts slowly. */
const patienceMs = 60_000;

if (inPrivateNetns(import.meta.filename, 300_000)) {
  const home = mkdtempSync(join(tmpdir(), 'portcullis-services-'));
  const files = join(home, 'services');
  let services: Services;
  before(async () => {
    shell('ip link set lo up && sysctl -qw net.ipv4.ip_forward=1');
    mkdirSync(files);
    services = await startServices(
      { databasePath: join(home, 'network.db'), balancer: 'nftables', folder: files },
      createLogger({ level: 'silent' }),
    );
  });
  after(async () => {
    await services.close();
    rmSync(home, { recursive: true, force: true });
  });
  afterEach(() => control.give({ mode: 'off' }));

  const text = (name: string, address: string): string =>
    `apiVersion: portcullis.dev/v1alpha1\nkind: Service\nmetadata: { name: ${name} }\naddresses: [${address}]\nports: [80:8080]\nbackends: [10.2.0.2, 10.2.0.3]\n`;
  const described = (name: string, address: string): Service => {
    const { described: found, problems } = readServices([{ file: name, text: text(name, address) }]);
    assert.deepEqual(problems, []);
    return (found[0] as { service: Service }).service;
  };
  const inKernel = (): string[] => {
    const map = shell('nft list map ip portcullis_services servers 2>/dev/null || true');
    return [...map.matchAll(/(10\.96\.\d+\.\d+) \. /gu)].map(([, address = '']) => address).toSorted();
  };
  /**
   * Returns the addresses that the thread describes; undefined while there is no thread.
   * @param which `kept` omits removed services, whose connections may continue for a while
   */
  const listed = async (which: 'all' | 'kept' = 'all'): Promise<string[] | undefined> => {
    const answer = await services.ask(JSON.stringify({ do: 'list' })).catch(() => undefined);
    if (answer === undefined) return undefined;
    const { services: found } = JSON.parse(answer) as { services: { name: string; source?: string }[] };
    return found
      .filter(({ source }) => which === 'all' || source !== undefined)
      .map(({ name }) => `10.96.0.${name.slice(1)}`)
      .toSorted();
  };
  const endAt = (nth: number, kind: FaultKind): void =>
    control.give({
      mode: 'fault',
      fault: { thread: 'services.worker', point: 'netlink.send', nth, kind, error: '', delayMs: 0 },
    });
  const sendsOf = async (act: () => Promise<unknown>): Promise<number> => {
    control.give({ mode: 'record' });
    await act();
    const sends = control
      .hits()
      .filter(({ thread, point }) => thread === 'services.worker' && point === 'netlink.send').length;
    control.give({ mode: 'off' });
    return sends;
  };

  test('a change whose thread is lost is reported as failed, and is complete or absent after the next start', async () => {
    const put = (): Promise<unknown> => services.put('command', [described('s1', '10.96.0.1')]);
    const remove = (): Promise<unknown> => services.remove('command', ['s1']);
    const acts = { put, remove };
    const sends = { put: await sendsOf(put), remove: await sendsOf(remove) };
    assert.ok(sends.put > 0 && sends.remove > 0, JSON.stringify(sends));
    for (const name of ['put', 'remove'] as const)
      for (const nth of chosenSends(sends[name])) {
        // The end after one message is the end before the next one.
        for (const kind of nth === sends[name] ? (['end', 'end-after'] as const) : (['end'] as const)) {
          const at = `${name}, ${kind} at ${nth}`;
          await (name === 'put' ? remove : put)();
          endAt(nth, kind);
          const answered = await acts[name]().then(
            () => undefined,
            (thrown: unknown) => (thrown as { code?: string }).code,
          );
          await eventually(() => (control.hasFired() ? true : undefined), patienceMs);
          control.give({ mode: 'off' });
          // A message that follows the answer ends the thread too.
          assert.ok(answered === undefined || answered === 'NETWORK_SERVICES_FAILED', `${at}: ${answered}`);
          const kept = await untilListed('kept');
          // The rest of a removed service ends with a tick.
          await untilAgreed(at);
          if (answered === undefined)
            assert.equal(kept.length, name === 'put' ? 1 : 0, `${at}: an acknowledged change is lost`);
          await acts[name]();
          // A service that is removed ends with the next tick.
          const wanted = name === 'put' ? '10.96.0.1' : '';
          await eventually(() => (inKernel().join() === wanted ? true : undefined), patienceMs).catch(() =>
            assert.fail(`${at}, then once more: ${inKernel().join()}`),
          );
        }
      }
    await remove();
  });

  test('a change of the files whose thread is lost is applied without a request', async () => {
    endAt(1, 'end');
    writeFileSync(join(files, 's2.yaml'), text('s2', '10.96.0.2'));
    await eventually(() => (control.hasFired() ? true : undefined), patienceMs);
    control.give({ mode: 'off' });
    await eventually(() => (inKernel().join() === '10.96.0.2' ? true : undefined), patienceMs);
    assert.deepEqual(await untilListed(), ['10.96.0.2']);
  });

  async function untilAgreed(at: string): Promise<void> {
    let [kernel, thread] = ['', ''];
    for (const deadline = Date.now() + patienceMs; Date.now() < deadline; await pause(50)) {
      [kernel, thread] = [inKernel().join(), (await listed())?.join() ?? 'no answer'];
      if (kernel === thread) return;
    }
    assert.fail(`${at}: the kernel has ${kernel}, the thread ${thread}`);
  }

  async function untilListed(which: 'all' | 'kept' = 'all'): Promise<string[]> {
    for (let waited = 0; ; waited += 50) {
      const found = await listed(which);
      if (found !== undefined) return found;
      assert.ok(waited < patienceMs, 'the thread is not started again');
      await pause(50);
    }
  }
}
