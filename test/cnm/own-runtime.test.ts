import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { createRemoteDriver, whyNoDriver } from './remote-driver.ts';
import type { RemoteDriver } from './remote-driver.ts';

/**
 * Pods of our own runtime on a network of a third-party remote driver: the daemon calls the driver itself,
 * and starts no program.
 */
describe('pods of our own runtime on a remote driver', { skip: whyNoDriver }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'pct-cnm-'));
  let stage: Stage;
  let driver: RemoteDriver;
  let image = '';
  const conflist = (): string =>
    JSON.stringify({
      cniVersion: '1.1.0',
      name: 'remote',
      plugins: [
        {
          type: 'portcullis-cnm',
          driver: 'helpers',
          socketDirs: [driver.sockets],
          capabilities: { portMappings: true, aliases: true },
          ipam: { type: 'portcullis-ipam', ranges: [[{ subnet: '10.222.0.0/24' }]] },
        },
      ],
    });
  before(async () => {
    driver = createRemoteDriver(folder, 'helpers');
    await driver.start();
    const config = join(folder, 'config.yaml');
    writeFileSync(config, `network: { cacheDir: ${join(folder, 'cni')} }\n`);
    stage = await openStage({ conflist: conflist(), flags: ['--config', config] });
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(async () => {
    await stage?.close();
    await driver?.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  const addressOf = async (id: string): Promise<string> =>
    (await stage.daemon.cri.runtime.podSandboxStatus({ podSandboxId: id })).status?.network?.ip ?? '';
  const page = async (port: number): Promise<string> => {
    for (const deadline = Date.now() + 60_000; Date.now() < deadline; await pause(50)) {
      const text = await new Promise<string>((resolve) => {
        const socket = connect({ host: '127.0.0.1', port });
        let heard = '';
        socket.setTimeout(1000, () => socket.destroy());
        socket.on('connect', () => socket.end('GET / HTTP/1.0\r\n\r\n'));
        socket.on('data', (chunk) => (heard += chunk.toString()));
        socket.on('error', () => undefined);
        socket.on('close', () => resolve(heard.trim().split('\n').at(-1) ?? ''));
      });
      if (text === 'a page') return text;
    }
    return '';
  };
  const nothingLeft = async (): Promise<void> => {
    for (
      const deadline = Date.now() + 20_000;
      driver.held().length > 0 && Date.now() < deadline;
      await pause(50)
    );
    assert.deepEqual(driver.held(), []);
    assert.doesNotMatch(execFileSync('ip', ['-o', 'link'], { encoding: 'utf8' }), /: c[bhp]/u);
  };

  it('are attached, reached by a host port, reach each other, and leave nothing', async () => {
    const { status } = await stage.daemon.cri.runtime.status({});
    assert.deepEqual(
      status?.conditions.find(({ type }) => type === 'NetworkReady')?.status,
      true,
      JSON.stringify(status),
    );
    const web = await runPod(stage, 'web', {
      portMappings: [{ protocol: 0, containerPort: 8080, hostPort: 18091, hostIp: '' }],
    });
    const other = await runPod(stage, 'other');
    assert.match(await addressOf(web.id), /^10\.222\.0\.\d+$/u);
    await runContainer(stage, web, { image, command: ['httpd', '-f', '-p', '8080', '-h', '/www'] });
    const asking = await runContainer(stage, other, { image, command: ['sleep', '600'] });
    assert.equal(await page(18091), 'a page');
    const asked = await execute(
      stage,
      asking,
      'wget',
      '-q',
      '-O',
      '-',
      `http://${await addressOf(web.id)}:8080/`,
    );
    assert.match(asked.stdout, /a page/u, asked.stderr);
    await removePod(stage, web);
    await removePod(stage, other);
    await nothingLeft();
  });

  it('survive a restart of the daemon; leftovers of a kill during a call are rolled back', async () => {
    const pod = await runPod(stage, 'stands');
    const container = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
    await stage.restart({ kill: true });
    assert.match((await execute(stage, container, 'ip', 'addr', 'show', 'eth0')).stdout, /10\.222\.0\./u);
    await removePod(stage, pod);
    await nothingLeft();
    await driver.stop();
    // Slow enough to be killed in the middle of a call.
    driver = createRemoteDriver(folder, 'helpers', { delayMs: 1000 });
    await driver.start();
    driver.verbs();
    const lost = runPod(stage, 'lost').catch(() => undefined);
    for (
      const deadline = Date.now() + 60_000;
      !driver.verbs().includes('CreateEndpoint') && Date.now() < deadline;
      await pause(20)
    );
    await stage.restart({ kill: true });
    await lost;
    await nothingLeft();
  });
});
