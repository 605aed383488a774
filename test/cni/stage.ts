import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { repository } from '../conformance/endpoint.ts';

/** Our plugins in their own folder, a network that uses nothing else, and a daemon in other namespaces. */
export interface Stage {
  readonly folder: string;
  /** Holds `portcullis-*` and `loopback`, all of them ours. */
  readonly binDir: string;
  at(name: string): string;
  /** Writes a network of our plugins. @returns its file */
  network(name: string, bridge: string, subnet: string): string;
  startDaemon(): Promise<void>;
  stopDaemon(): Promise<void>;
  /** @param keep keep the written files for inspection */
  end(keep: boolean): Promise<void>;
}

const launcher = join(repository, 'packaging/bin/portcullis');

export function openStage(keep: string | undefined): Stage {
  const folder = keep ?? mkdtempSync(join(tmpdir(), 'pct-cni-'));
  const at = (name: string): string => join(folder, name);
  for (const name of ['policy', 'conf', 'report', 'networks']) mkdirSync(at(name), { recursive: true });
  // The network for pods of our own CRI: this run does not use it.
  writeFileSync(
    at('conf/10-own.conflist'),
    JSON.stringify({
      cniVersion: '1.0.0',
      name: 'own',
      plugins: [
        {
          type: 'bridge',
          bridge: 'own0',
          ipam: { type: 'host-local', ranges: [[{ subnet: '10.99.0.0/24' }]] },
        },
      ],
    }),
  );
  const install = [
    'cni',
    'install',
    '--bin-dir',
    at('bin'),
    '--loopback',
    '--socket',
    at('state/cni.sock'),
    '--root',
    at('root'),
  ];
  if (spawnSync(launcher, install, { stdio: ['ignore', 'ignore', 'inherit'] }).status !== 0)
    throw new Error('the plugins are not installed');

  let daemon: ReturnType<typeof spawn> | undefined;
  const stopDaemon = async (): Promise<void> => {
    const running = daemon;
    daemon = undefined;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
    const exited = once(running, 'exit');
    running.kill('SIGTERM');
    await exited;
  };
  return {
    folder,
    binDir: at('bin'),
    at,
    network(name, bridge, subnet) {
      const file = at(`networks/${name}.conflist`);
      const plugins = [
        {
          type: 'portcullis-bridge',
          bridge,
          isDefaultGateway: true,
          ipMasq: true,
          hairpinMode: true,
          capabilities: { ips: true, mac: true },
          ipam: { type: 'portcullis-ipam', ranges: [[{ subnet }]] },
        },
        { type: 'portcullis-portmap', capabilities: { portMappings: true } },
        { type: 'portcullis-bandwidth', capabilities: { bandwidth: true } },
        { type: 'portcullis-tuning' },
      ];
      writeFileSync(file, JSON.stringify({ cniVersion: '1.0.0', name, plugins }));
      return file;
    },
    async startDaemon() {
      const log = openSync(at('daemon.log'), 'a', 0o600);
      const places = [
        '--socket',
        at('cri.sock'),
        '--root',
        at('root'),
        '--state',
        at('state'),
        '--policy',
        at('policy'),
      ];
      const flags = ['-m', '-n', launcher, 'daemon', ...places, '--cni-conf-dir', at('conf')];
      daemon = spawn('unshare', flags, { stdio: ['ignore', log, log] });
      closeSync(log);
      for (let waited = 0; !existsSync(at('state/cni.sock')); waited += 100) {
        if (waited > 60_000) throw new Error(`the daemon does not listen; see ${at('daemon.log')}`);
        await pause(100);
      }
    },
    stopDaemon,
    async end(kept) {
      await stopDaemon();
      if (!kept) rmSync(folder, { recursive: true, force: true });
    },
  };
}
