import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, openSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { flagsOfSources, pluginOfBundle } from '../fixtures/bundled-workers-flag.ts';
import { installPlugins } from '../../cni-plugins/index.ts';
import type { OverlayQuestion, OverlaySettings, OverlayStatus } from '../../cni-plugins/index.ts';
import { findTool } from '../fixtures/tools.ts';
import type { PodQuestion } from './pod.ts';

/** Hosts on one switch, in the private namespaces of a test file. */

export const etcdTool = findTool('etcd');
export const endpoint = 'http://192.0.2.1:2379';

export const shell = (command: string): string => execFileSync('sh', ['-c', command], { encoding: 'utf8' });

/** Returns whether the kernel creates such a link, which loads its module. */
export function hasWireguard(): boolean {
  try {
    shell('ip link add wg-probe type wireguard 2>/dev/null && ip link delete wg-probe');
    return true;
  } catch {
    return false;
  }
}

/** A process that answers questions by messages. */
export interface Answering<Question> {
  readonly pid: number;
  ask<Answer>(question: Question): Promise<Answer>;
  kill(): Promise<void>;
}

export interface Pod extends Answering<PodQuestion> {
  readonly name: string;
  readonly addresses: readonly string[];
  /** Returns the gateway's answer for the name, sorted. */
  lookUp(name: string): string[];
  /** Detaches by DEL of the plugin. */
  detach(): Promise<void>;
}

/** Opens a TCP stream over IPv4 and a UDP stream over IPv6 from one pod to another. */
export async function openStreams(from: Pod, to: Pod): Promise<void> {
  const [four = '', six = ''] = to.addresses;
  for (const [stream, protocol, address] of [
    ['tcp', 'tcp', four],
    ['udp6', 'udp', six],
  ] as const)
    await from.ask({ do: 'open', stream: `to ${to.name} ${stream}`, protocol, address, port: 7000 });
}

export interface Host {
  readonly name: string;
  readonly underlay: string;
  readonly netns: string;
  /** The PID of the running agent. */
  readonly pid: number;
  start(more?: Partial<OverlaySettings>): void;
  kill(): Promise<void>;
  ask<Answer>(question: OverlayQuestion): Promise<Answer>;
  status(): Promise<OverlayStatus>;
  /** Runs a command in its network namespace. */
  run(command: string): string;
  /** @param services the services that it joins, in the format of `runtimeConfig.services` */
  attach(pod: string, services?: readonly object[]): Promise<Pod>;
  log(): string;
}

export interface Hosts {
  readonly folder: string;
  readonly hosts: readonly Host[];
  startEtcd(): Promise<void>;
  killEtcd(): Promise<void>;
  /** Keeps a copy of the data of etcd, which is not running. */
  copyEtcd(): void;
  /** Replaces the data of etcd with the copy. Call it while etcd does not run. */
  rollEtcdBack(): void;
  /** Restarts etcd without its data. */
  forgetEtcd(): void;
  end(): Promise<void>;
}

export function answering<Question>(
  netns: string,
  args: readonly string[],
  logFile: string,
): Answering<Question> {
  const out = openSync(logFile, 'a');
  const child = spawn('nsenter', [`--net=${netns}`, process.execPath, ...args], {
    stdio: ['ignore', out, out, 'ipc'],
  });
  const waiting = new Map<number, { resolve(value: never): void; reject(error: Error): void }>();
  let id = 0;
  child.on('message', (message: { id: number; answer?: never; error?: string }) => {
    const asked = waiting.get(message.id);
    waiting.delete(message.id);
    if (message.error === undefined) asked?.resolve(message.answer as never);
    else asked?.reject(new Error(message.error));
  });
  child.on('exit', () => {
    for (const each of waiting.values()) each.reject(new Error('the process ended'));
    waiting.clear();
  });
  return {
    pid: child.pid ?? 0,
    ask: (question) =>
      new Promise((resolve, reject) => {
        if (child.exitCode !== null || child.signalCode !== null)
          return reject(new Error('the process ended'));
        id += 1;
        waiting.set(id, { resolve, reject });
        child.send({ id, question });
      }),
    kill: () => killed(child),
  };
}

async function killed(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}

const agentProgram = join(import.meta.dirname, 'agent.ts');

/** Adds the network namespace of a host, with a link to the switch. */
function addNamespace(name: string, number: number, underlay: string): void {
  shell(`ip netns add ${name} && ip link add port-${number} type veth peer name eth0 netns ${name} && ip link set port-${number} master switch up
    ip -n ${name} link set lo up && ip -n ${name} address add ${underlay}/24 dev eth0 && ip -n ${name} link set eth0 up
    ip -n ${name} route add default via 192.0.2.1`);
}

/** Installs the plugins of a host, and returns their folder. */
function installedPlugins(own: string): string {
  const binDir = join(own, 'bin');
  installPlugins({ binDir, socket: join(own, 'cni.sock'), data: own, version: 'test', ...pluginOfBundle() });
  return binDir;
}

export function createHosts(count: number, more: Partial<OverlaySettings> = {}): Hosts {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-overlay-'));
  mkdirSync('/run/netns', { recursive: true });
  shell(
    'mount -t tmpfs tmpfs /run/netns && ip link add switch type bridge && ip link set switch up && ip address add 192.0.2.1/24 dev switch',
  );
  let etcd: ChildProcess | undefined;
  const children: Answering<never>[] = [];
  const hosts = Array.from({ length: count }, (_, index) => createHost(index + 1));

  function createHost(number: number): Host {
    const name = `host-${number}`;
    const underlay = `192.0.2.${10 + number}`;
    const netns = `/run/netns/${name}`;
    const own = join(folder, name);
    const logFile = join(own, 'log');
    mkdirSync(own);
    addNamespace(name, number, underlay);
    const binDir = installedPlugins(own);
    let agent: Answering<OverlayQuestion> | undefined;
    const ask = <Answer>(question: OverlayQuestion): Promise<Answer> => {
      if (agent === undefined) throw new Error(`${name} does not run`);
      return agent.ask<Answer>(question);
    };
    return {
      name,
      underlay,
      netns,
      get pid() {
        return agent?.pid ?? 0;
      },
      start(changed = {}) {
        const settings: OverlaySettings = {
          name: 'shop',
          host: name,
          etcd: { endpoints: [endpoint] },
          networks: [
            { prefix: '10.128.0.0/14', hostLength: 24 },
            { prefix: 'fd00:10:128::/48', hostLength: 64 },
          ],
          underlay: 'eth0',
          vni: 1,
          vxlanPort: 4789,
          encryption: 'none',
          wireguardPort: 51_820,
          leaseSeconds: 10,
          holdSeconds: 300,
          folder: join(own, 'overlay'),
          confDir: join(own, 'net.d'),
          order: '10',
          databasePath: join(own, 'network.db'),
          services: { ingress: { namespaces: ['*'], ports: ['30000-32767'] } },
          ...more,
          ...changed,
        };
        agent = answering(netns, [...flagsOfSources(), agentProgram, JSON.stringify(settings)], logFile);
        children.push(agent);
      },
      async kill() {
        await agent?.kill();
      },
      ask,
      status: () => ask<OverlayStatus>({ do: 'status' }),
      run: (command) => shell(`nsenter --net=${netns} ${command}`),
      log: () => readFileSync(logFile, 'utf8'),
      async attach(pod, services = []) {
        const sandbox = `/run/netns/${pod}`;
        shell(`ip netns add ${pod} && ip -n ${pod} link set lo up`);
        const file = readdirSync(join(own, 'net.d')).find((each) => each.endsWith('.conflist'));
        const list = JSON.parse(readFileSync(join(own, 'net.d', file ?? ''), 'utf8')) as {
          cniVersion: string;
          name: string;
          plugins: object[];
        };
        const config = JSON.stringify({
          cniVersion: list.cniVersion,
          name: list.name,
          ...list.plugins[0],
          ...(services.length > 0 && { runtimeConfig: { services } }),
        });
        const call = (verb: string): string =>
          execFileSync('nsenter', [`--net=${netns}`, join(binDir, 'portcullis-bridge')], {
            input: config,
            encoding: 'utf8',
            env: {
              PATH: process.env['PATH'] ?? '',
              CNI_COMMAND: verb,
              CNI_CONTAINERID: pod,
              CNI_NETNS: sandbox,
              CNI_IFNAME: 'eth0',
              CNI_PATH: binDir,
            },
          });
        const result = JSON.parse(call('ADD')) as { ips: { address: string; gateway: string }[] };
        const process_ = answering<PodQuestion>(sandbox, [join(import.meta.dirname, 'pod.ts'), pod], logFile);
        children.push(process_);
        return {
          ...process_,
          name: pod,
          addresses: result.ips.map(({ address }) => address.slice(0, address.indexOf('/'))),
          lookUp(name) {
            const text = shell(
              `nsenter --net=${sandbox} busybox nslookup ${name} ${result.ips[0]?.gateway ?? ''} || true`,
            );
            const answer = text.includes('Name:') ? text.slice(text.indexOf('Name:')) : '';
            return [...answer.matchAll(/^Address:?\s*\d*:?\s+([0-9a-f.:]+)$/gmu)]
              .map(([, address = '']) => address)
              .toSorted();
          },
          async detach() {
            await process_.kill();
            call('DEL');
          },
        };
      },
    };
  }

  const startEtcd = async (): Promise<void> => {
    const out = openSync(join(folder, 'etcd.log'), 'a');
    const urls = [
      '--listen-client-urls',
      endpoint,
      '--advertise-client-urls',
      endpoint,
      '--listen-peer-urls',
      'http://127.0.0.1:2380',
    ];
    etcd = spawn(etcdTool.path, ['--data-dir', join(folder, 'etcd'), ...urls], {
      stdio: ['ignore', out, out],
    });
    await until('etcd answers', async () => (await fetch(`${endpoint}/health`)).ok);
  };
  return {
    folder,
    hosts,
    startEtcd,
    killEtcd: () => killed(etcd),
    ...etcdData(folder),
    async end() {
      await Promise.all([killed(etcd), ...children.map((child) => child.kill())]);
      for (const netns of readdirSync('/run/netns')) shell(`ip netns delete ${netns}`);
      shell('umount /run/netns');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Waits for a condition, not for a time; an exception means that the condition is not met yet. */
export async function until(
  what: string,
  condition: () => Promise<boolean> | boolean,
  limitMs = 120_000,
): Promise<number> {
  const began = performance.now();
  let last = '';
  for (;;) {
    try {
      if (await condition()) return performance.now() - began;
    } catch (thrown) {
      last = `: ${(thrown as Error).message}`;
    }
    if (performance.now() - began > limitMs)
      throw new Error(`not within ${limitMs / 1000} s: ${what}${last}`);
    await sleep(50);
  }
}

function etcdData(folder: string): Pick<Hosts, 'copyEtcd' | 'forgetEtcd' | 'rollEtcdBack'> {
  const [data, copy] = [join(folder, 'etcd'), join(folder, 'etcd-copy')];
  return {
    copyEtcd: () => cpSync(data, copy, { recursive: true }),
    rollEtcdBack() {
      rmSync(data, { recursive: true });
      cpSync(copy, data, { recursive: true });
    },
    forgetEtcd: () => rmSync(data, { recursive: true, force: true }),
  };
}
