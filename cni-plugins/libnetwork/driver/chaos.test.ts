import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  openSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { flagsOfSources } from '../../../test/fixtures/bundled-workers-flag.ts';
import { commandFile } from '../../../test/fixtures/command.ts';
import { inPrivateNetns, shell, tried } from '../../engine/engine.fixture.ts';
import type { EngineNetwork, EngineOrder, KnownEndpoint } from './chaos.engine.fixture.ts';
import { ask, rowsOf } from './driver.fixture.ts';

/**
 * kill -9 at random moments of the driver and of the engine that calls it, on a network of our own and on
 * Debian's plugins. The engine continues by itself, and nothing is left at the end. Long form:
 * PORTCULLIS_CNM_KILLS=200, about ten minutes.
 */
const kills = Number(process.env['PORTCULLIS_CNM_KILLS'] ?? '3');
let state = Number(process.env['PORTCULLIS_CNM_SEED'] ?? '3') >>> 0;
/** Returns a uniform number in [0, 1) from a seed (mulberry32). */
const random = (): number => {
  state = (state + 0x6d2b79f5) >>> 0;
  let mixed = Math.imul(state ^ (state >>> 15), state | 1);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
};

const engineProgram = join(import.meta.dirname, 'chaos.engine.fixture.ts');
const debian = existsSync('/usr/lib/cni/bridge') && tried('iptables --version') !== undefined;
const patience = 300_000;

if (inPrivateNetns(import.meta.filename, 7_200_000)) {
  test(`${kills} kills of driver and engine leave nothing`, { timeout: 7_200_000 }, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-cnm-chaos-'));
    const at = (name: string): string => join(folder, name);
    for (const name of ['conf', 'netns']) mkdirSync(at(name));
    shell('ip link set lo up');
    const ipam = { type: 'host-local', ranges: [[{ subnet: '10.57.0.0/24' }]], dataDir: at('leases') };
    const plugins = [
      { type: 'bridge', bridge: 'deb0', isDefaultGateway: true, ipMasq: true, ipam },
      { type: 'portmap', capabilities: { portMappings: true } },
    ];
    writeFileSync(
      at('conf/debian.conflist'),
      JSON.stringify({ cniVersion: '1.0.0', name: 'debian', plugins }),
    );
    const sandboxes = [0, 1, 2].map((slot) => at(`netns/${slot}`));
    for (const path of sandboxes) shell(`touch ${path} && unshare --net=${path} ip link set lo up`);
    const socket = at('driver.sock');
    const networks: EngineNetwork[] = [
      { id: '5'.repeat(64), subnet: '10.56.0.0/24' },
      ...(debian ? [{ id: '6'.repeat(64) }] : []),
    ];
    const known = new Map<string, KnownEndpoint>();
    let acts = 0;

    const log = openSync(at('log'), 'a');
    const startDriver = async (): Promise<ChildProcess> => {
      const places = [
        '--socket',
        socket,
        '--root',
        at('root'),
        '--state',
        at('state'),
        '--conf-dir',
        at('conf'),
        '--bin-dir',
        '/usr/lib/cni',
      ];
      const child = spawn(process.execPath, [commandFile, 'network', 'docker-driver', ...places], {
        stdio: ['ignore', log, log],
      });
      for (const late = performance.now() + patience; ; await pause(20)) {
        if (
          await ask(socket, 'Plugin.Activate', '')
            .then(({ status }) => status === 200)
            .catch(() => false)
        )
          return child;
        assert.ok(child.exitCode === null && performance.now() < late, readFileSync(at('log'), 'utf8'));
      }
    };
    const startEngine = async (): Promise<ChildProcess> => {
      const child = spawn(process.execPath, [...flagsOfSources(), engineProgram], {
        stdio: ['pipe', 'pipe', log],
      });
      const order: EngineOrder = { socket, networks, sandboxes, known: [...known.values()] };
      const { stdin, stdout } = child;
      assert.ok(stdin !== null && stdout !== null);
      stdin.end(JSON.stringify(order));
      createInterface({ input: stdout }).on('line', (line) => {
        if (line.startsWith('= ')) {
          const endpoint = JSON.parse(line.slice(2)) as KnownEndpoint;
          known.set(endpoint.id, endpoint);
        } else if (line.startsWith('0 ')) {
          known.delete(line.slice(2));
          acts += 1;
        }
      });
      await Promise.race([once(stdout, 'data'), once(child, 'exit')]);
      return child;
    };
    const call = async (verb: string, body: object): Promise<void> => {
      const { status, text } = await ask(socket, verb, JSON.stringify(body));
      assert.equal(status, 200, text);
    };
    const end = async (child: ChildProcess, signal: 'SIGKILL' | 'SIGTERM'): Promise<void> => {
      const ended =
        child.exitCode !== null || child.signalCode !== null ? Promise.resolve() : once(child, 'exit');
      child.kill(signal);
      await ended;
    };

    let driver = await startDriver();
    let engine: ChildProcess | undefined;
    try {
      for (const { id, subnet } of networks)
        await call('NetworkDriver.CreateNetwork', {
          NetworkID: id,
          Options:
            subnet === undefined
              ? { 'com.docker.network.generic': { conflist: 'debian', plugins: 'exec' } }
              : {},
          IPv4Data: [
            subnet === undefined
              ? { Pool: '0.0.0.0/0' }
              : { Pool: subnet, Gateway: subnet.replace(/0\/24$/u, '1/24') },
          ],
        });
      engine = await startEngine();
      for (let kill = 0; kill < kills; kill += 1) {
        await pause(random() * 700);
        assert.equal(
          engine.exitCode,
          null,
          `the engine ended by itself: ${readFileSync(at('log'), 'utf8').slice(-3000)}`,
        );
        const what = random();
        if (what < 0.7) {
          await end(driver, 'SIGKILL');
          // Sometimes both are killed; then neither knows what the other did last.
          if (what < 0.2) await end(engine, 'SIGKILL');
          driver = await startDriver();
          if (what < 0.2) engine = await startEngine();
        } else {
          await end(engine, 'SIGKILL');
          engine = await startEngine();
        }
      }
      await end(engine, 'SIGTERM');
      assert.equal(engine.exitCode, 0, readFileSync(at('log'), 'utf8').slice(-3000));
      assert.equal(known.size, 0);
      // The next check finds endpoints of which a killed engine never received the answer.
      await end(driver, 'SIGTERM');
      driver = await startDriver();
      for (const { id } of networks) await call('NetworkDriver.DeleteNetwork', { NetworkID: id });
      const links = shell('ip -br link show')
        .split('\n')
        .filter((line) => line !== '' && !line.startsWith('lo '));
      const leases = existsSync(at('leases/debian'))
        ? readdirSync(at('leases/debian')).filter((name) => name.startsWith('10.'))
        : [];
      const rules = debian
        ? shell('iptables-save -t nat')
            .split('\n')
            .filter((line) => /10\.57\.|dports? 80/u.test(line))
        : [];
      const pins = existsSync(at('state/cnm')) ? readdirSync(at('state/cnm')) : [];
      assert.deepEqual([...rowsOf(at('root/network.db')), ...links, ...leases, ...rules, ...pins], []);
      assert.doesNotMatch(shell('nft list ruleset'), /10\.56\.0\./u);
      assert.ok(acts > 0, 'no endpoint was ever made and removed');
    } finally {
      if (engine !== undefined) await end(engine, 'SIGKILL');
      await end(driver, 'SIGKILL');
      tried(`umount ${at('netns')}/* ${at('state')}/cnm/*/net`);
      rmSync(folder, { recursive: true, force: true });
    }
  });
}
