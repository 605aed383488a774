/** `npm run test:nri`: the sample plugins of NRI, of two of its versions, against a real daemon. */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createContainer, execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { failureOf, openStage, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const programs = join(process.env['PEERS'] ?? '/var/cache/portcullis-peers', 'bin');

const rule = (name: string, ceiling: string): string =>
  `  - images: ["${registryName}/${name}/**"]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ceiling: ${ceiling} }\n`;
const profile = `---\napiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\nmetadata: { name: small }\nentitlements: [network.user, security.confined]\nresources: { nofile: 1024 }\n`;
const policy = `${policyOf(rule('high', 'privileged') + rule('small', 'small'))}${profile}`;

for (const version of ['0.12', '0.10']) {
  const folder = join(programs, `nri-${version}`);
  const skip = existsSync(join(folder, 'ulimit-adjuster')) ? false : 'no plugins: test/peers/get nri-plugins';
  describe(`sample plugins of NRI ${version}`, { skip }, () => {
    const own = mkdtempSync(join(tmpdir(), 'pc-nri-go-'));
    const plugins = join(own, 'plugins');
    // The default of NRI, because the plugin of 0.10 has no option for another path.
    const socket = '/var/run/nri/nri.sock';
    const children: ChildProcess[] = [];
    let stage: Stage;
    let hadFolder = true;
    let [high, small] = ['', ''];

    before(async () => {
      // In the mount namespace of this file.
      hadFolder = existsSync('/run/nri');
      mkdirSync('/run/nri', { recursive: true });
      execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', '/run/nri']);
      mkdirSync(plugins, { mode: 0o755 });
      copyFileSync(join(folder, 'device-injector'), join(plugins, '10-device-injector'));
      const config = join(own, 'config.yaml');
      writeFileSync(
        config,
        `nri: { enabled: true, socket: ${socket}, pluginPath: ${plugins}, pluginConfigPath: ${own}, required: [device-injector] }\n`,
      );
      stage = await openStage({ policy, flags: ['--config', config] });
      high = await stage.pull((await stage.publish('high/a:1')).reference);
      small = await stage.pull((await stage.publish('small/a:1')).reference);
    });
    after(async () => {
      await stage.close();
      for (const child of children) child.kill('SIGKILL');
      execFileSync('umount', ['/run/nri']);
      if (!hadFolder) rmdirSync('/run/nri');
      assert.deepEqual(running(plugins), [], 'the daemon ends the plugins that it started');
      rmSync(own, { recursive: true, force: true });
    });

    const device = (major: number, minor: number): string =>
      JSON.stringify([{ path: '/dev/extra', type: 'c', major, minor }]);
    const limits = (most: number): string => JSON.stringify([{ type: 'nofile', hard: most, soft: most }]);
    const annotated = (name: string, annotations: Record<string, string>): Promise<Pod> =>
      runPod(stage, name, { annotations });
    const ask = (image: string) => ({ name: 'main', image, command: ['sleep', '600'] });
    const connections = (): number => stage.daemon.log().split('an NRI plugin is connected').length - 1;

    it('a pre-installed plugin adds a device within the ceiling', async () => {
      const pod = await annotated('within', { 'devices.nri.io/container.main': device(1, 7) });
      const id = await runContainer(stage, pod, ask(high));
      assert.equal((await execute(stage, id, 'stat', '-c', '%t:%T', '/dev/extra')).stdout, '1:7\n');
      const { info } = await stage.daemon.cri.runtime.containerStatus({ containerId: id, verbose: true });
      const { adjustments } = JSON.parse(info['info'] ?? '{}') as { adjustments: unknown };
      assert.deepEqual(adjustments, [
        { plugin: '10-device-injector', field: 'device', key: '/dev/extra', action: 'set', value: 'c 1:7' },
      ]);
      await removePod(stage, pod);
    });

    it('a pre-installed plugin that exceeds the ceiling is refused, and the error names it', async () => {
      const pod = await annotated('beyond', { 'devices.nri.io/container.main': device(1, 11) });
      const failure = await failureOf(createContainer(stage, pod, ask(small)));
      assert.equal(failure.code, 'RUNTIME_DEVICE_NOT_GRANTED');
      assert.match(failure.message, /10-device-injector/);
      await removePod(stage, pod);
    });

    it('a plugin that connects sets a limit within the profile, and is refused beyond it', async () => {
      const known = connections();
      children.push(
        spawn(join(folder, 'ulimit-adjuster'), ['-idx', '30', '-name', 'ulimit-adjuster'], {
          stdio: 'ignore',
        }),
      );
      for (let waited = 0; connections() === known && waited < 60_000; waited += 50) await pause(50);
      const key = 'ulimits.nri.containerd.io/container.main';
      const pod = await annotated('limits', { [key]: limits(512) });
      const id = await runContainer(stage, pod, ask(small));
      assert.equal((await execute(stage, id, 'sh', '-c', 'ulimit -n')).stdout, '512\n');
      const other = await annotated('no-limits', { [key]: limits(4096) });
      const failure = await failureOf(createContainer(stage, other, ask(small)));
      assert.equal(failure.code, 'RUNTIME_OUTSIDE_PROFILE');
      assert.match(failure.message, /4096.*30-ulimit-adjuster/);
      await removePod(stage, pod);
      await removePod(stage, other);
    });

    it('a pre-installed plugin is started again when it has ended', async () => {
      const known = connections();
      const [pid] = running(plugins);
      process.kill(Number(pid), 'SIGKILL');
      for (let waited = 0; connections() === known && waited < 60_000; waited += 50) await pause(50);
      const pod = await annotated('again', { 'devices.nri.io/container.main': device(1, 7) });
      await runContainer(stage, pod, ask(high));
      await removePod(stage, pod);
    });

    it('a pre-installed plugin runs once after the daemon was killed', async () => {
      await stage.restart({ kill: true });
      assert.equal(running(plugins).length, 1);
      const pod = await annotated('after', { 'devices.nri.io/container.main': device(1, 7) });
      const id = await runContainer(stage, pod, ask(high));
      assert.equal((await execute(stage, id, 'stat', '-c', '%t:%T', '/dev/extra')).stdout, '1:7\n');
      await removePod(stage, pod);
    });
  });
}

/** Returns the processes whose program is below a folder. */
function running(folder: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readlinkSync(`/proc/${pid}/exe`).startsWith(folder);
    } catch {
      return false;
    }
  });
}
