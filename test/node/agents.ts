import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { portcullisCommand } from '../fixtures/command.ts';
import { endpoint } from '../overlay/hosts.ts';
import type { Host } from '../overlay/hosts.ts';

/** A host whose state is kept by `portcullis node serve`, in the host's network namespace. */
export interface NodeHost {
  readonly name: string;
  readonly confDir: string;
  /** Options that name the host's folders, for other commands. */
  readonly options: readonly string[];
  start(): void;
  kill(): Promise<void>;
  ttl(): string;
  setTtl(value: number): void;
  log(): string;
}

export function nodeHost(host: Host, folder: string): NodeHost {
  const own = join(folder, host.name, 'node');
  const confDir = join(own, 'net.d');
  mkdirSync(confDir, { recursive: true });
  const logFile = join(own, 'log');
  writeFileSync(logFile, '');
  const options = ['--state', join(own, 'state'), '--conf-dir', confDir, '--root', join(own, 'root')];
  options.push('--socket', join(own, 'none.sock'), '--admin-socket', join(own, 'admin.sock'));
  options.push('--policy-folder', join(own, 'policy'));
  const [program = '', ...words] = portcullisCommand;
  let child: ChildProcess | undefined;
  return {
    name: host.name,
    confDir,
    options,
    start() {
      const out = openSync(logFile, 'a');
      const serve = [
        'node',
        'serve',
        ...options,
        '--etcd',
        endpoint,
        '--node',
        host.name,
        '--label',
        'role=web',
      ];
      child = spawn(
        'setpriv',
        [
          ...['--pdeathsig', 'KILL', 'nsenter', `--net=${host.netns}`, program, ...words, ...serve],
          ...['--interval', '1s', '--lease', '20s'],
        ],
        { stdio: ['ignore', out, out] },
      );
    },
    async kill() {
      const ending = child;
      if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return;
      const ended = new Promise((resolve) => ending.once('exit', resolve));
      ending.kill('SIGKILL');
      await ended;
    },
    ttl: () => host.run('cat /proc/sys/net/ipv4/ip_default_ttl').trim(),
    setTtl: (value) => void host.run(`sysctl -qw net.ipv4.ip_default_ttl=${value}`),
    log: () => readFileSync(logFile, 'utf8'),
  };
}
