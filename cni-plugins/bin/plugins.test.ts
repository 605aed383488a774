import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { inPrivateNetns, tried } from '../engine/engine.fixture.ts';
import { supportedVersions } from '../spec/cni-version.ts';
import { installPlugins, installedPlugins, pluginNames } from '../cni/client/install.ts';
import type { InstallOptions } from '../cni/client/install.ts';
import { pluginOfBundle } from '../../test/fixtures/bundled-workers-flag.ts';
import { createInstalledFixture, writeConflist } from './plugins.fixture.ts';
import type { InstalledFixture, Run } from './plugins.fixture.ts';

const cnitool = `${process.env['PEERS'] ?? '/var/cache/portcullis-peers'}/bin/cnitool`;

const chain = [
  {
    type: 'portcullis-bridge',
    bridge: 'wbr0',
    isDefaultGateway: true,
    ipMasq: true,
    ipam: { type: 'portcullis-ipam', ranges: [[{ subnet: '10.77.0.0/24' }], [{ subnet: 'fd77::/64' }]] },
  },
  { type: 'portcullis-portmap', capabilities: { portMappings: true } },
  { type: 'portcullis-tuning', sysctl: { 'net.ipv4.conf.IFNAME.arp_filter': '1' } },
];

if (inPrivateNetns(import.meta.filename)) {
  describe('the installed plugins', () => {
    let fixture: InstalledFixture;
    before(() => {
      fixture = createInstalledFixture();
    });
    after(() => fixture.end());

    const program = (name: string): string => join(fixture.binDir, name);
    const optionsFor = (binDir: string): InstallOptions => ({
      binDir,
      socket: fixture.socket,
      data: join(fixture.folder, 'data'),
      version: 'test',
      ...pluginOfBundle(),
    });
    const environment = (verb: string, id: string, netns: string): Record<string, string> => ({
      CNI_COMMAND: verb,
      CNI_CONTAINERID: id,
      CNI_NETNS: netns,
      CNI_IFNAME: 'eth0',
      CNI_PATH: fixture.binDir,
    });
    const reported = (run: Run): { code: number; msg: string; cniVersion: string } => {
      assert.equal(run.code, 1, JSON.stringify(run));
      return JSON.parse(run.stdout) as { code: number; msg: string; cniVersion: string };
    };

    it('are written once, by rename, and distinguished from other files', () => {
      const options = optionsFor(fixture.binDir);
      const inode = statSync(program('portcullis-bridge')).ino;
      assert.deepEqual(installPlugins(options).written, []);
      assert.equal(statSync(program('portcullis-bridge')).ino, inode);
      const newer = installPlugins({ ...options, version: 'newer' });
      assert.deepEqual(newer.written, pluginNames());
      assert.notEqual(statSync(program('portcullis-bridge')).ino, inode);
      const found = installedPlugins(fixture.binDir);
      assert.ok(
        found.every(
          ({ state, version, socket }) =>
            state === 'installed' && version === 'newer' && socket === fixture.socket,
        ),
      );
      assert.ok(installedPlugins('/usr/bin').every(({ state }) => state === 'missing'));
    });

    it('replace a path that is not a program, without blocking on it', () => {
      const binDir = join(fixture.folder, 'bin-odd');
      mkdirSync(binDir);
      execFileSync('mkfifo', ['-m', '755', join(binDir, 'portcullis-bridge'), join(binDir, 'loopback')]);
      symlinkSync('/dev/zero', join(binDir, 'portcullis-ptp'));
      writeFileSync(join(fixture.folder, 'theirs'), 'theirs');
      symlinkSync(join(fixture.folder, 'theirs'), join(binDir, 'portcullis-vlan'));
      const states = (): string[] =>
        installedPlugins(binDir).flatMap(({ name, state }) =>
          state === 'missing' ? [] : [`${name} ${state}`],
        );
      assert.deepEqual(states(), [
        'portcullis-bridge foreign',
        'portcullis-ptp foreign',
        'portcullis-vlan foreign',
      ]);
      const options = optionsFor(binDir);
      assert.throws(() => installPlugins({ ...options, loopback: true }), /a third-party program/u);
      assert.deepEqual(installPlugins(options).written, pluginNames());
      assert.deepEqual(
        states(),
        pluginNames().map((name) => `${name} installed`),
      );
      assert.equal(
        readFileSync(join(fixture.folder, 'theirs'), 'utf8'),
        'theirs',
        'the target of a link stays',
      );
    });

    it('are also installed as `loopback` on request, and never replace a third-party program', async () => {
      const binDir = join(fixture.folder, 'bin-loopback');
      const options = optionsFor(binDir);
      installPlugins(options);
      assert.ok(!existsSync(join(binDir, 'loopback')));
      assert.deepEqual(installPlugins({ ...options, loopback: true }).written, ['loopback']);
      const netns = fixture.pin('pod-lo');
      const input = JSON.stringify({ cniVersion: '1.0.0', name: 'cni-loopback', type: 'loopback' });
      const up = await fixture.run(
        [join(binDir, 'loopback')],
        { ...environment('ADD', 'lo', netns), CNI_IFNAME: 'lo' },
        input,
      );
      assert.equal(up.code, 0, up.stdout);
      assert.match(fixture.inside(netns, 'ip link show lo') ?? '', /,UP/u);
      // It is updated with the others, whether it is requested again or not.
      assert.ok(installPlugins({ ...options, version: 'newer' }).written.includes('loopback'));
      assert.deepEqual(installedPlugins(binDir).at(-1)?.name, 'loopback');
      const taken = join(fixture.folder, 'bin-taken');
      mkdirSync(taken);
      writeFileSync(join(taken, 'loopback'), 'theirs');
      assert.throws(
        () => installPlugins({ ...options, binDir: taken, loopback: true }),
        /NETWORK_INSTALL_INVALID|a third-party program/u,
      );
      assert.deepEqual(installPlugins({ ...options, binDir: taken }).written, pluginNames());
      assert.equal(readFileSync(join(taken, 'loopback'), 'utf8'), 'theirs');
      await fixture.run(
        [join(binDir, 'loopback')],
        { ...environment('DEL', 'lo', netns), CNI_IFNAME: 'lo' },
        input,
      );
    });

    it('reads the allow list of sysctls of the caller, not of the daemon', async () => {
      await fixture.up();
      const netns = fixture.pin('pod-list');
      const conf = { cniVersion: '1.1.0', name: 'list' };
      const made = await fixture.run(
        [program('portcullis-bridge')],
        environment('ADD', 'list', netns),
        JSON.stringify({ ...conf, ...chain[0] }),
      );
      assert.equal(made.code, 0, made.stdout);
      const input = JSON.stringify({ ...conf, ...chain[2], prevResult: JSON.parse(made.stdout) as unknown });
      const own =
        'mkdir -p /etc/cni && mount -t tmpfs list /etc/cni && mkdir /etc/cni/tuning && echo "^net.core$" > /etc/cni/tuning/allowlist.conf';
      const listed = ['unshare', '--mount', 'sh', '-c', `${own} && exec ${program('portcullis-tuning')}`];
      assert.match(
        reported(await fixture.run(listed, environment('ADD', 'list', netns), input)).msg,
        /allowlist\.conf does not allow it/u,
      );
      assert.equal(
        (await fixture.run([program('portcullis-tuning')], environment('ADD', 'list', netns), input)).code,
        0,
      );
      for (const name of ['tuning', 'bridge'])
        await fixture.run(
          [program(`portcullis-${name}`)],
          environment('DEL', 'list', netns),
          JSON.stringify({ ...conf, ...(name === 'bridge' ? chain[0] : chain[2]) }),
        );
      await fixture.down();
    });

    it('print their versions and a description without any input if the daemon runs', async () => {
      await fixture.up();
      const version = await fixture.run([program('portcullis-portmap')], { CNI_COMMAND: 'VERSION' });
      assert.deepEqual(JSON.parse(version.stdout), { cniVersion: '1.1.0', supportedVersions });
      const about = await fixture.run([program('portcullis-portmap')], {});
      assert.deepEqual([about.code, about.stdout], [0, '']);
      assert.match(about.stderr, /^CNI plugin portcullis-portmap/u);
    });

    const cycle = async (version: string, name: string): Promise<void> => {
      const pod = fixture.pin(`pod-${name}`);
      const variables = {
        NETCONFPATH: writeConflist(fixture.folder, name, version, chain),
        CNI_PATH: fixture.binDir,
        CNI_IFNAME: 'eth0',
        CAP_ARGS: JSON.stringify({ portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] }),
      };
      const tool = async (verb: string): Promise<string> => {
        const run = await fixture.run([cnitool, verb, name, pod], variables);
        assert.equal(run.code, 0, `${verb} ${version}: ${run.stdout}${run.stderr}`);
        return run.stdout;
      };
      const result = JSON.parse(await tool('add')) as Record<string, unknown>;
      assert.equal(result['cniVersion'], version);
      assert.match(fixture.inside(pod, 'ip -4 -br address show eth0') ?? '', /10\.77\.0\.\d+\/24/u);
      // The bridge is in the caller's namespace, not in the daemon's.
      assert.ok(tried('ip link show wbr0') === undefined);
      if (!['0.1.0', '0.2.0', '0.3.0', '0.3.1'].includes(version)) await tool('check');
      if (version === '1.1.0') {
        await tool('status');
        fixture.inside(pod, 'ip address flush dev eth0');
        const differs = await fixture.run([cnitool, 'check', name, pod], variables);
        assert.notEqual(differs.code, 0, 'CHECK compares the kernel');
        await tool('gc');
      } else await tool('del');
      await tool('del');
      assert.equal(fixture.inside(pod, 'ip link show eth0'), undefined);
      assert.equal(fixture.attachments(), 0);
    };
    const skip = existsSync(cnitool) ? false : 'cnitool is not built (test/peers/get cnitool)';
    for (const version of supportedVersions)
      it(`serve cnitool in CNI ${version}, in a namespace that is not the daemon's`, { skip }, () =>
        cycle(version, `n${version.replaceAll('.', '')}`),
      );

    it('refuse the caller’s own namespace, and a missing namespace, with code 8', async () => {
      const conf = JSON.stringify({ cniVersion: '1.0.0', name: 'net', ...chain[0] });
      for (const netns of [
        '/proc/self/ns/net',
        join(fixture.folder, 'netns/host'),
        '/nowhere/at/all',
        '/etc/hostname',
      ]) {
        const error = reported(
          await fixture.run([program('portcullis-bridge')], environment('ADD', 'own', netns), conf),
        );
        assert.deepEqual([error.code, error.cniVersion], [8, '1.0.0'], `${netns}: ${error.msg}`);
      }
      assert.equal(fixture.attachments(), 0);
    });

    it('ignore calls of users other than root, and calls that violate the protocol', async () => {
      const talk = (bytes: string): Promise<string> =>
        new Promise((resolve) => {
          let received = '';
          const socket = connect(fixture.socket, () => socket.end(bytes));
          socket.on('data', (chunk) => (received += chunk.toString('latin1')));
          socket.on('close', () => resolve(received));
        });
      assert.equal(await talk('GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n'), '');
      assert.equal(await talk('PCTCNI1'), '');
      assert.equal(await talk(`PCTCNI1\0${'\xff'.repeat(16)}`), '');
    });

    it('report a failed call, and leave nothing, when the daemon ends during the call', async () => {
      await fixture.down();
      const dying = createServer((socket) => {
        socket.once('data', () => {
          socket.write('PCTCNI2n');
          setTimeout(() => socket.destroy(), 50);
        });
      });
      await new Promise<void>((resolve) => dying.listen(fixture.socket, resolve));
      const pod = fixture.pin('lost');
      const input = JSON.stringify({ cniVersion: '0.4.0', name: 'net', ...chain[0] });
      const call = (verb: string, more: Readonly<Record<string, string>> = {}): Promise<Run> =>
        fixture.run([program('portcullis-bridge')], { ...environment(verb, 'lost', pod), ...more }, input);
      let run = await call('ADD');
      // On a busy machine the greeting may come too late, and the plugin has acted without the daemon.
      for (let attempt = 0; run.code === 0 && attempt < 5; attempt += 1) {
        await call('DEL', { PORTCULLIS_CNI_SOCKET: '' });
        run = await call('ADD');
      }
      await new Promise((resolve) => dying.close(resolve));
      assert.deepEqual([reported(run).code, reported(run).cniVersion], [11, '0.4.0']);
      assert.equal(fixture.attachments(), 0);
    });

    it('work without a daemon, on the same database, and then with the daemon again', async () => {
      const pod = fixture.pin('mixed');
      const conf = JSON.stringify({ cniVersion: '1.0.0', name: 'net', ...chain[0] });
      const alone = await fixture.run([program('portcullis-bridge')], environment('ADD', 'mixed', pod), conf);
      assert.equal(alone.code, 0, alone.stdout);
      await fixture.up();
      const again = reported(
        await fixture.run([program('portcullis-bridge')], environment('ADD', 'mixed', pod), conf),
      );
      assert.equal(again.code, 100);
      const del = await fixture.run([program('portcullis-bridge')], environment('DEL', 'mixed', pod), conf);
      assert.deepEqual([del.code, del.stdout, fixture.attachments()], [0, '', 0]);
    });

    it('call the daemon that the environment names; an empty path means no daemon', async () => {
      const env = { CNI_COMMAND: 'VERSION' };
      const named = await fixture.run([program('portcullis-ipam')], {
        ...env,
        PORTCULLIS_CNI_SOCKET: fixture.socket,
      });
      const none = await fixture.run([program('portcullis-ipam')], { ...env, PORTCULLIS_CNI_SOCKET: '' });
      assert.equal(named.stdout, none.stdout);
      assert.ok(readFileSync(program('portcullis-ipam')).length < 5000, 'it is a small program');
    });
  });
}
