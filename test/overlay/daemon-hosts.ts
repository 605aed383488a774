import { spawn } from 'node:child_process';
import { mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createRegistryClient } from '../../base/distribution/index.ts';
import { signImage } from '../../trust/index.ts';
import { portcullisCommand, runProgram } from '../fixtures/command.ts';
import type { Ended } from '../fixtures/command.ts';
import { daemonFolders, startDaemon } from '../fixtures/daemon.ts';
import type { TestDaemon } from '../fixtures/daemon.ts';
import { buildImage, pushImage } from '../fixtures/image.ts';
import { startRegistry } from '../fixtures/registry.ts';
import { makeKey, plainPolicy, podNamespace, registryName } from '../fixtures/stage.ts';
import { findTool } from '../fixtures/tools.ts';
import { createHosts, endpoint, shell, until } from './hosts.ts';
import type { Host, Hosts } from './hosts.ts';
import type { PodQuestion } from './pod.ts';

/**
 * Hosts whose daemons are started by their launcher, as a user does, and queried only by crictl and by the
 * command.
 */

export const crictlTool = findTool('crictl');
const launcher = join(import.meta.dirname, '../../packaging/bin/portcullisd');
const networks = { network: '10.128.0.0/14', network6: 'fd00:10:128::/48' } as const;

export interface PodAsk {
  readonly annotations?: Readonly<Record<string, string>>;
  /** Ports of the host, by ports of the pod. */
  readonly hostPorts?: Readonly<Record<number, number>>;
}

/** A pod with one container, whose server at port 80 returns the pod's name. */
export interface DaemonPod {
  readonly name: string;
  readonly host: DaemonHost;
  readonly addresses: readonly string[];
  /** The PID of its container. */
  readonly pid: number;
  /** Runs a program in the container, by crictl. */
  run(...words: string[]): Promise<Ended>;
  /** Returns the answer of that server; undefined: it did not answer within two seconds. */
  page(server: string, port?: number): Promise<string | undefined>;
  /** Starts `pod.ts` next to the container, in the pod's network namespace. */
  streams(): Streams;
  remove(): Promise<void>;
}

export interface Streams {
  ask<Answer>(question: PodQuestion): Promise<Answer>;
  end(): void;
}

export interface DaemonHost {
  readonly name: string;
  readonly underlay: string;
  readonly daemon: TestDaemon;
  readonly folders: ReturnType<typeof daemonFolders>;
  start(): Promise<void>;
  /** Removes its pods, and ends its daemon. */
  end(): Promise<void>;
  /** Runs a program in its network namespace. */
  inside(program: string, ...words: string[]): Promise<Ended>;
  /** Runs the command next to the daemon. */
  portcullis(...words: string[]): Promise<Ended>;
  crictl(...words: string[]): Promise<Ended>;
  pod(name: string, ask?: PodAsk): Promise<DaemonPod>;
}

export interface DaemonHosts {
  readonly hosts: readonly DaemonHost[];
  readonly etcd: Pick<Hosts, 'killEtcd' | 'startEtcd'>;
  end(): Promise<void>;
}

/** @param profiles documents that are next to the policy on every host */
export async function createDaemonHosts(count: number, profiles: string): Promise<DaemonHosts> {
  const all = createHosts(count);
  const at = (name: string): string => join(all.folder, name);
  const registry = await startRegistry();
  const key = await makeKey(at('k.key'), at('k.pub'));
  const client = createRegistryClient({ tagSettleMs: 0 });
  const [repository] = client.repositories({ registry: registry.host, repository: 'app/a' });
  if (repository === undefined) throw new Error('the registry has no such repository');
  const image = await buildImage();
  await pushImage(repository, image, '1');
  await signImage({ repository, digest: image.manifestDigest, key, format: 'bundle', now: new Date() });
  // The registry listens only on loopback: the hosts reach it through the switch.
  shell(
    `nft 'table ip registry { chain in { type nat hook prerouting priority -100; tcp dport 5000 dnat to ${registry.host}; }; }'`,
  );
  await all.startEtcd();
  const daemons = all.hosts.map((host) =>
    daemonHost(host, { folder: at(`${host.name}/daemon`), publicKey: at('k.pub'), profiles }),
  );
  return {
    hosts: daemons,
    etcd: all,
    async end() {
      for (const each of daemons) await each.end();
      await client.close();
      await registry.close();
      await all.end();
    },
  };
}

function daemonHost(
  host: Host,
  {
    folder,
    publicKey,
    profiles,
  }: { readonly folder: string; readonly publicKey: string; readonly profiles: string },
): DaemonHost {
  const folders = daemonFolders(folder);
  for (const path of [folders.policy, folders.cniConf, join(folder, 'logs')])
    mkdirSync(path, { recursive: true });
  const at = (name: string): string => join(folder, name);
  writeFileSync(join(folders.policy, 'k.pub'), readFileSync(publicKey));
  writeFileSync(join(folders.policy, 'policy.yaml'), `${plainPolicy}---\n${profiles}`);
  const overlay = {
    host: host.name,
    etcd: { endpoints: [endpoint] },
    ...networks,
    underlay: 'eth0',
    lease: 60,
    hold: 60,
    services: { ingress: { namespaces: ['*'], ports: ['30000-32767'] } },
  };
  writeFileSync(
    at('config.yaml'),
    JSON.stringify({ network: { overlay, cacheDir: at('cni-cache'), services: { folder: at('services') } } }),
  );
  const flags = [
    '--config',
    at('config.yaml'),
    '--cgroup-driver',
    'cgroupfs',
    '--registry-mirror',
    `${registryName}=http://192.0.2.1:5000`,
  ];
  let daemon: TestDaemon | undefined;

  const inside = (program: string, ...words: string[]): Promise<Ended> =>
    runProgram(
      'nsenter',
      [`--net=${host.netns}`, program, ...words],
      { ...process.env, HOME: folder },
      folder,
    );
  const crictl = (...words: string[]): Promise<Ended> => {
    const socket = `unix://${folders.socket}`;
    return inside(
      crictlTool.path,
      '--runtime-endpoint',
      socket,
      '--image-endpoint',
      socket,
      '--timeout',
      '60s',
      ...words,
    );
  };
  const done = async (...words: string[]): Promise<string> => {
    const { code, stdout, output } = await crictl(...words);
    if (code !== 0) throw new Error(`crictl ${words.join(' ')} on ${host.name}: ${output}`);
    return stdout.trim();
  };

  const self: DaemonHost = {
    name: host.name,
    underlay: host.underlay,
    folders,
    inside,
    crictl,
    get daemon() {
      if (daemon === undefined) throw new Error(`${host.name} does not run`);
      return daemon;
    },
    async start() {
      daemon = await startDaemon(folders, flags, ['nsenter', `--net=${host.netns}`, launcher]);
    },
    async end() {
      await crictl('rmp', '--all', '--force');
      // A killed daemon leaves its mounts to the next one.
      await daemon?.stop();
    },
    portcullis: (...words) => {
      const [program = '', ...first] = portcullisCommand;
      const asked =
        words[0] === 'network' || words[0] === 'service'
          ? ['--admin-socket', join(folders.state, 'admin.sock')]
          : [];
      return inside(program, ...first, ...words, ...asked);
    },
    async pod(name, { annotations = {}, hostPorts = {} } = {}) {
      const files = { pod: at(`${name}.pod.json`), container: at(`${name}.container.json`) };
      const reference = `${registryName}/app/a:1`;
      writeFileSync(
        files.pod,
        JSON.stringify({
          metadata: { name, uid: `uid-${name}`, namespace: podNamespace, attempt: 0 },
          hostname: name,
          log_directory: at(`logs/${name}`),
          annotations,
          port_mappings: Object.entries(hostPorts).map(([port, hostPort]) => ({
            container_port: Number(port),
            host_port: hostPort,
          })),
          linux: { cgroup_parent: `/portcullis-overlay-${process.pid}` },
        }),
      );
      writeFileSync(
        files.container,
        JSON.stringify({
          metadata: { name: 'main' },
          image: { image: reference },
          command: ['sh', '-c', `echo ${name} > /tmp/index.html; exec httpd -f -p '[::]:80' -h /tmp`],
          log_path: 'main.log',
          linux: {},
        }),
      );
      await done('pull', '--pod-config', files.pod, reference);
      const sandbox = await done('runp', files.pod);
      const container = await done('create', sandbox, files.container, files.pod);
      await done('start', container);
      const { status } = JSON.parse(await done('inspectp', sandbox)) as {
        status: { network: { ip: string; additionalIps: { ip: string }[] } };
      };
      const { info } = JSON.parse(await done('inspect', container)) as { info: { pid: number } };
      const run = (...words: string[]): Promise<Ended> => crictl('exec', '--sync', container, ...words);
      return {
        name,
        host: self,
        addresses: [status.network.ip, ...status.network.additionalIps.map(({ ip }) => ip)],
        pid: info.pid,
        run,
        page: async (server, port = 80) =>
          pageOf(await run('timeout', '2', 'wget', '-q', '-O', '-', urlOf(server, port))),
        streams: () => streamsIn(info.pid, name, at('streams.log')),
        async remove() {
          await done('rmp', '--force', sandbox);
        },
      };
    },
  };
  return self;
}

const urlOf = (server: string, port: number): string =>
  `http://${server.includes(':') ? `[${server}]` : server}:${port}/`;
const pageOf = ({ code, stdout }: Ended): string | undefined => (code === 0 ? stdout.trim() : undefined);

/** Returns the page that the host itself receives. */
export async function pageFrom(host: DaemonHost, server: string, port = 80): Promise<string | undefined> {
  return pageOf(await host.inside('timeout', '2', 'busybox', 'wget', '-q', '-O', '-', urlOf(server, port)));
}

/** Waits until the answer is as expected. */
export const answers = (
  what: string,
  ask: () => Promise<string | undefined>,
  expected: string | RegExp,
): Promise<number> =>
  until(
    what,
    async () => {
      const said = await ask();
      if (said === undefined) throw new Error('nobody answered');
      if (typeof expected === 'string' ? said !== expected : !expected.test(said))
        throw new Error(`it said ${said}`);
      return true;
    },
    60_000,
  );

function streamsIn(pid: number, name: string, logFile: string): Streams {
  const out = openSync(logFile, 'a');
  const child = spawn(
    'nsenter',
    [`--net=/proc/${pid}/ns/net`, process.execPath, join(import.meta.dirname, 'pod.ts'), name],
    {
      stdio: ['ignore', out, out, 'ipc'],
    },
  );
  let id = 0;
  return {
    ask: (question) =>
      new Promise((resolve, reject) => {
        id += 1;
        const asked = id;
        const heard = (message: { readonly id: number; readonly answer: never }): void => {
          if (message.id !== asked) return;
          child.off('message', heard).off('exit', ended);
          resolve(message.answer);
        };
        const ended = (): void => reject(new Error(`the streams of ${name} ended`));
        child.on('message', heard).once('exit', ended);
        child.send({ id: asked, question });
      }),
    end: () => void child.kill('SIGKILL'),
  };
}
