/**
 * The program of the image `node-installer`: `install`, `remove` and `hold` (docs/kubernetes.md). It works on
 * the host's root that is mounted at --host, and asks the host's systemd only for what its options name.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { isPortcullisError, PortcullisError } from '../../../base/errors/index.ts';
import { koffi } from '../../../base/process/index.ts';
import { insideHost } from './inside.ts';
import { finishNode, installNode, isEnabled, removeNode, unitName } from './install.ts';

/** The daemon may take five minutes to start (portcullisd.service). */
const longestAnswerMs = 330_000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    host: { type: 'string', default: '/host' },
    payload: { type: 'string', default: '/usr/lib/portcullis' },
    enable: { type: 'boolean', default: false },
    start: { type: 'boolean', default: false },
    restart: { type: 'boolean', default: false },
    stop: { type: 'boolean', default: false },
  },
});

const say = (text: string): void => void process.stdout.write(`${text}\n`);

/**
 * Returns a function that runs systemctl of the host. The process changes its root, and loses access to the
 * files of this container.
 */
function enterSystemd(host: string): (...words: readonly string[]) => number {
  const library = koffi().load('libc.so.6');
  const chroot = library.func('chroot', 'int', ['str']) as (path: string) => number;
  if (chroot(host) !== 0)
    throw serviceFailure('enter the root of the host', 'the container lacks CAP_SYS_CHROOT');
  process.chdir('/');
  return (...words) => {
    const { status, stdout, stderr, error } = spawnSync('systemctl', words, {
      encoding: 'utf8',
      timeout: longestAnswerMs,
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', SYSTEMD_IGNORE_CHROOT: '1', LC_ALL: 'C.UTF-8' },
    });
    if (error !== undefined) throw serviceFailure(`run systemctl ${words.join(' ')}`, error.message);
    if (status !== 0 && words[0] !== 'is-active')
      throw serviceFailure(`run systemctl ${words.join(' ')}`, (stderr || stdout).trim());
    return status ?? 1;
  };
}

function serviceFailure(attempted: string, why: string): PortcullisError {
  return new PortcullisError({
    ...{ code: 'NODE_INSTALL_SERVICE', kind: 'internal', attempted, on: unitName, why },
    fix: 'read `journalctl -u portcullisd` on the node',
  });
}

function install(): void {
  const { folder, changed, unitChanged } = installNode(values.host, values.payload);
  say(changed ? `installed ${folder}` : `${folder} is installed already`);
  const needsEnable = values.enable && !isEnabled(values.host);
  const isAsked = unitChanged || needsEnable || values.start || (values.restart && changed);
  if (!isAsked || !hasSystemd()) return finishNode(values.host);
  const systemctl = enterSystemd(values.host);
  if (unitChanged) systemctl('daemon-reload');
  if (needsEnable) systemctl('enable', unitName);
  const isActive = systemctl('is-active', '--quiet', unitName) === 0;
  if (values.start && !isActive) systemctl('start', unitName);
  else if (values.restart && changed && isActive) systemctl('restart', unitName);
  // The root is the host's now.
  finishNode('');
}

function remove(): void {
  if (values.stop && hasSystemd()) {
    // The root cannot be left again, so another process stops the daemon.
    const words = [...process.execArgv, process.argv[1] ?? '', 'stop', '--host', values.host];
    const { status } = spawnSync(process.execPath, words, { stdio: ['ignore', 'inherit', 'inherit'] });
    if (status !== 0) throw serviceFailure('stop the daemon', 'the command failed with the error above');
  }
  const { changed } = removeNode(values.host);
  say(changed ? 'removed' : 'nothing is installed');
  if (changed && hasSystemd()) enterSystemd(values.host)('daemon-reload');
}

function stop(): void {
  const systemctl = enterSystemd(values.host);
  if (systemctl('is-active', '--quiet', unitName) === 0) systemctl('stop', unitName);
}

function hasSystemd(): boolean {
  return existsSync(insideHost(values.host, '/run/systemd/system'));
}

/** Waits until the pod is ended. */
async function hold(): Promise<void> {
  const timer = setInterval(() => undefined, 2 ** 30);
  await new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, resolve);
  });
  clearInterval(timer);
}

const actions: Readonly<Record<string, () => void | Promise<void>>> = { install, remove, stop, hold };
const action = actions[positionals[0] ?? ''];
if (action === undefined || positionals.length !== 1) {
  process.stderr.write('node-installer: give one of install, remove, hold\n');
  process.exitCode = 2;
} else
  try {
    await action();
  } catch (error) {
    // The message of Portcullis' errors ends with the code.
    const text = isPortcullisError(error) ? error.message : String(error);
    process.stderr.write(`node-installer: ${text}\n`);
    process.exitCode = 4;
  }
