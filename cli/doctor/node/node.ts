import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isPortcullisError } from '../../../base/errors/index.ts';
import type { PortcullisError } from '../../../base/errors/index.ts';
import { defaultConfigFile, loadDaemonConfig } from '../../../runtime/index.ts';
import type { DaemonConfig } from '../../../runtime/index.ts';
import type { Chapter, Finding } from '../finding.ts';
import { runtimeFindings } from '../runtimes.ts';
import { writableLayerFindings } from '../writable-layers.ts';
import { changeableConfiguration } from './changeable-files.ts';
import { crictlFindings } from './crictl.ts';
import { answeringDaemon, askDaemon, daemonFindings } from './daemon.ts';
import type { Answers } from './daemon.ts';
import { enforcementFindings } from './enforcement.ts';
import { readKubelet } from './kubelet-settings.ts';
import { kubeletFindings } from './kubelet.ts';
import { serviceFindings } from './service-unit.ts';
import { mirrorFindings } from './mirrors.ts';
import { readUnit } from './unit-file.ts';

export interface NodeInput {
  /** The daemon's configuration file, if it is not the default one. */
  readonly config?: string;
  /** The socket of the running daemon, if it is not that of the configuration. */
  readonly socket?: string;
  /** The root of the file system; `/` except in tests. */
  readonly root?: string;
  readonly packageRoot: string;
}

/**
 * Checks this machine as a node: the daemon's configuration with the runtimes that it names, the running
 * daemon's answers, the service, the kubelet and crictl. `doctor` also runs before the installation, so a
 * machine with none of these gets one line, and the runtimes of the default configuration.
 */
export async function nodeChapters(input: NodeInput): Promise<readonly Chapter[]> {
  const root = input.root ?? '/';
  const loaded = await configurationOf(input.config);
  if (!('root' in loaded)) {
    // A file that cannot be read names no socket.
    const { socket: usual } = await loadDaemonConfig({ file: '/nonexistent', mayBeMissing: true });
    const { socket = usual } = input;
    return [{ title: 'Node', findings: wrongConfiguration(loaded, await askDaemon(socket), socket) }];
  }
  const config = { ...loaded, ...(input.socket !== undefined && { socket: input.socket }) };
  const runtimes = {
    title: 'OCI runtimes',
    findings: [...(await runtimeFindings(config)), ...writableLayerFindings(config.root)],
  };
  const kubelet = readKubelet(root);
  const isNode =
    input.config !== undefined ||
    input.socket !== undefined ||
    kubelet !== undefined ||
    readUnit('portcullisd.service', root) !== undefined ||
    ['etc/portcullis', config.socket].some((path) => existsSync(join(root, path)));
  if (!isNode) return [runtimes, { title: 'Node', findings: [noNode] }];

  const answers = await askDaemon(config.socket);
  const side = {
    config,
    cgroupDriver: cgroupDriverOf(config, answers, root),
    unified: existsSync(join(root, 'sys/fs/cgroup/cgroup.controllers')),
    swap: hasSwap(root),
    root,
  };
  return [
    runtimes,
    {
      title: 'Daemon',
      findings: [
        ...(await changeableConfiguration(input.config ?? defaultConfigFile)),
        ...(await daemonFindings(config, answers)),
      ],
    },
    ...(typeof answers === 'string'
      ? []
      : [{ title: 'Mirrors', findings: await mirrorFindings(config) }].filter(
          ({ findings }) => findings.length > 0,
        )),
    { title: 'Enforcement', findings: enforcementFindings(answers) },
    { title: 'Service', findings: serviceFindings(root, input.packageRoot) },
    { title: 'Kubelet', findings: kubelet === undefined ? [noKubelet] : kubeletFindings(kubelet, side) },
    { title: 'crictl', findings: crictlFindings(root, config.socket) },
  ];
}

const noNode: Finding = {
  topic: 'node',
  state: 'missing',
  found: 'not set up yet',
  meaning: ['there is no configuration, service or daemon here; `portcullis quickstart` needs none'],
  fix: 'run portcullis setup, and start portcullisd; for a kubelet, see docs/kubelet.md',
};

const noKubelet: Finding = {
  topic: 'kubelet',
  state: 'fine',
  found: 'none here: the socket serves any client that may connect',
};

async function configurationOf(file: string | undefined): Promise<DaemonConfig | PortcullisError> {
  try {
    return await loadDaemonConfig(file === undefined ? {} : { file });
  } catch (thrown) {
    if (!isPortcullisError(thrown)) throw thrown;
    return thrown;
  }
}

/**
 * Reports a configuration with which no daemon starts. A running daemon keeps the configuration that it was
 * started with.
 */
export function wrongConfiguration(
  { failure }: PortcullisError,
  answers: Answers | string,
  socket: string,
): readonly Finding[] {
  const problems = failure.details?.['problems'];
  const all = Array.isArray(problems) ? problems.map(String) : [failure.why];
  const found = { topic: 'configuration', found: failure.on, fix: failure.fix };
  if (typeof answers === 'string')
    return [{ ...found, state: 'missing', meaning: ['the daemon does not start', ...all] }];
  const kept =
    'the running daemon keeps the configuration of its start, and cannot start again with this file';
  return [{ ...found, state: 'degraded', meaning: [kept, ...all] }, answeringDaemon(answers, socket)];
}

/**
 * Returns the driver of the running daemon, else the configured one (`auto`: systemd where systemd is process
 * 1).
 */
function cgroupDriverOf(
  config: DaemonConfig,
  answers: Answers | string,
  root: string,
): 'cgroupfs' | 'systemd' {
  if (typeof answers !== 'string') return answers.cgroupDriver;
  if (config.cgroupDriver !== 'auto') return config.cgroupDriver;
  return existsSync(join(root, 'run/systemd/system')) ? 'systemd' : 'cgroupfs';
}

/** Reads /proc/swaps: one header line, and one line per swap area. */
function hasSwap(root: string): boolean {
  try {
    return readFileSync(join(root, 'proc/swaps'), 'utf8').trimEnd().split('\n').length > 1;
  } catch {
    return false;
  }
}
