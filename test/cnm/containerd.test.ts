import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { installPlugins } from '../../cni-plugins/cni/client/install.ts';
import { peers, repository } from '../conformance/endpoint.ts';
import { createRemoteDriver, whyNoDriver } from './remote-driver.ts';
import type { RemoteDriver } from './remote-driver.ts';

/** Pods of containerd, with the installed program, on a network of a third-party remote driver. */
const absent = ['containerd', 'runc', 'crictl', 'critimages'].filter(
  (name) => !existsSync(join(peers, 'bin', name)),
);
const missing = absent.length > 0 ? `build with test/peers/get ${absent.join(' ')}` : whyNoDriver;

describe('pods of containerd on a remote driver', { skip: missing }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'pct-cnm-ctd-'));
  const at = (name: string): string => join(folder, name);
  let driver: RemoteDriver;
  const containerd = (...args: string[]): { status: number | null; stdout: string; stderr: string } =>
    spawnSync(join(repository, 'test/peers/run-containerd'), args, {
      env: { ...process.env, CNI_BIN: at('bin'), CNI_CONFLIST: at('remote.conflist'), D: at('containerd') },
      encoding: 'utf8',
      timeout: 600_000,
    });
  const crictl = (...args: string[]): string => {
    const run = containerd(
      'exec',
      join(peers, 'bin/crictl'),
      '--timeout',
      '60s',
      '-r',
      `unix://${at('containerd/containerd.sock')}`,
      ...args,
    );
    assert.equal(run.status, 0, `crictl ${args.join(' ')}: ${run.stdout}${run.stderr}`);
    return run.stdout.trim();
  };
  const inHost = (...command: string[]): { status: number | null; stdout: string } =>
    spawnSync('nsenter', ['-t', readFileSync(at('containerd/pid'), 'utf8').trim(), '-n', ...command], {
      encoding: 'utf8',
    });

  before(async () => {
    installPlugins({
      binDir: at('bin'),
      socket: at('none.sock'),
      data: at('data'),
      version: 'test',
      loopback: true,
    });
    writeFileSync(
      at('remote.conflist'),
      JSON.stringify({
        cniVersion: '1.1.0',
        name: 'remote',
        plugins: [
          {
            type: 'portcullis-cnm',
            driver: 'helpers',
            socketDirs: [at('plugins')],
            capabilities: { portMappings: true },
            ipam: { type: 'cnm', driver: 'helpers-ipam', pools: [{ pool: '10.223.0.0/24' }] },
          },
        ],
      }),
    );
    assert.equal(containerd('start').status, 0, 'containerd does not start');
    driver = createRemoteDriver(folder, 'helpers', {
      netns: `/proc/${readFileSync(at('containerd/pid'), 'utf8').trim()}/ns/net`,
    });
    await driver.start();
  });
  after(async () => {
    await driver?.stop();
    containerd('stop');
    rmSync(folder, { recursive: true, force: true });
  });

  it('are attached, reached, and leave nothing', async () => {
    const ids = ['a', 'b'].map((name) => {
      writeFileSync(
        at(`${name}.json`),
        JSON.stringify({ metadata: { name, namespace: 'default', uid: name, attempt: 0 }, linux: {} }),
      );
      return crictl('runp', at(`${name}.json`));
    });
    const addresses = ids.map(
      (id) =>
        (JSON.parse(crictl('inspectp', id)) as { status: { network: { ip: string } } }).status.network.ip,
    );
    for (const address of addresses) {
      assert.match(address, /^10\.223\.0\.\d+$/u);
      assert.equal(inHost('busybox', 'ping', '-c1', '-W5', address).status, 0);
    }
    assert.equal(driver.held().filter((each) => each.startsWith('endpoint')).length, 2);
    for (const id of ids) {
      crictl('stopp', id);
      crictl('rmp', id);
    }
    for (
      const deadline = Date.now() + 30_000;
      driver.held().length > 0 && Date.now() < deadline;
      await pause(50)
    );
    assert.deepEqual(driver.held(), []);
    assert.doesNotMatch(inHost('ip', '-o', 'link').stdout, /: c[bhp]/u);
  });
});
