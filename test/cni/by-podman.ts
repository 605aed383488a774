import { strict as assert } from 'node:assert';
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { peers } from '../conformance/endpoint.ts';
import type { Judged } from './judged.ts';
import { openHost } from './host.ts';
import type { Host } from './host.ts';
import type { Stage } from './stage.ts';

const podman = join(peers, 'bin/podman');
const image = 'localhost/busybox:1';

/**
 * Tests podman with its backend `cni` (version 4 is the last that has it): host ports, chosen addresses, stop
 * and start.
 */
export function byPodman(stage: Stage): Judged {
  let host: Host | undefined;
  const inside = (...command: readonly string[]): string =>
    (host ?? assert.fail('it is not started')).run(command);
  const pm = (...args: readonly string[]): string => inside(podman, ...args).trim();
  const get = (url: string): string =>
    inside(
      process.execPath,
      '-e',
      `fetch(${JSON.stringify(url)}, { signal: AbortSignal.timeout(5000) }).then(async (r) => console.log(await r.text()))`,
    ).trim();
  const links = (): string => inside('ip', '-br', 'link', 'show', 'type', 'veth').trim();
  const addressOf = (name: string): string =>
    pm('inspect', '-f', '{{.NetworkSettings.Networks.testnet.IPAddress}}', name);

  const judge = (): void => {
    pm(
      'run',
      '-d',
      '--name',
      'web',
      '-p',
      '8080:80',
      '-p',
      '5353:53/udp',
      image,
      'httpd',
      '-f',
      '-p',
      '80',
      '-h',
      '/www',
    );
    const address = addressOf('web');
    assert.match(
      pm('exec', 'web', 'ip', '-4', 'address', 'show', 'eth0'),
      new RegExp(`inet ${address.replaceAll('.', '\\.')}/16`, 'u'),
    );
    for (const url of [`http://${address}/`, 'http://127.0.0.1:8080/', 'http://10.87.0.1:8080/'])
      assert.equal(get(url), 'podman', url);
    assert.equal(pm('run', '--rm', image, 'wget', '-q', '-O', '-', `http://${address}/`), 'podman');
    assert.equal(pm('run', '--rm', image, 'wget', '-q', '-O', '-', 'http://10.87.0.1:8080/'), 'podman');
    const chosen = pm(
      'run',
      '--rm',
      '--ip',
      '10.87.7.7',
      '--mac-address',
      '02:11:22:33:44:55',
      image,
      'ip',
      'address',
      'show',
      'eth0',
    );
    assert.match(chosen, /02:11:22:33:44:55[^]*inet 10\.87\.7\.7\/16/u);
    // A host port belongs to one container, and is free again after it stopped.
    assert.throws(() => pm('run', '--rm', '-p', '8080:80', image, 'true'), /8080/u);
    pm('stop', '-t', '0', 'web');
    assert.equal(links(), '');
    pm('start', 'web');
    assert.equal(get('http://127.0.0.1:8080/'), 'podman');
    pm('rm', '-f', '-t', '0', 'web');
    assert.doesNotMatch(inside('nft', 'list', 'ruleset'), /8080|10\.87\.0\.\d+ :/u);
  };

  return {
    async start() {
      host = await openHost(['/etc/containers', '/run', '/var/lib/cni', '/var/lib/containers']);
      stage.network('testnet', 'cni-podman0', '10.87.0.0/16');
      const home = stage.at('podman');
      mkdirSync(home);
      const files = {
        'containers.conf': `[network]
network_backend = "cni"
cni_plugin_dirs = ["${stage.binDir}"]
network_config_dir = "${stage.at('networks')}"
default_network = "testnet"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "crun"
[containers]
log_driver = "k8s-file"
apparmor_profile = "unconfined"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
`,
        'policy.json': '{"default":[{"type":"insecureAcceptAnything"}]}',
        'storage.conf':
          '[storage]\ndriver = "vfs"\nrunroot = "/run/containers"\ngraphroot = "/var/lib/containers"\n',
      };
      for (const [name, text] of Object.entries(files)) writeFileSync(join(home, name), text);
      inside('cp', ...Object.keys(files).map((name) => join(home, name)), '/etc/containers');
      for (const folder of ['rootfs/bin', 'rootfs/www']) mkdirSync(join(home, folder), { recursive: true });
      cpSync('/bin/busybox', join(home, 'rootfs/bin/busybox'));
      for (const name of ['httpd', 'ip', 'sh', 'true', 'wget'])
        symlinkSync('busybox', join(home, 'rootfs/bin', name));
      writeFileSync(join(home, 'rootfs/www/index.html'), 'podman\n');
      inside('tar', '-C', join(home, 'rootfs'), '-cf', join(home, 'rootfs.tar'), '.');
      pm('import', join(home, 'rootfs.tar'), image);
    },
    judge() {
      try {
        judge();
        return { passed: true, left: links() };
      } catch (thrown) {
        console.error(thrown);
        return { passed: false, left: links() };
      }
    },
    stop() {
      if (host === undefined) return;
      try {
        pm('rm', '-f', '-a', '-t', '0');
      } finally {
        host.end();
      }
    },
  };
}
