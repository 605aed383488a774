import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { reasonOf } from '../../base/errors/index.ts';
import { multipart, post, publisher } from '../../trust/notary/publisher.fixture.ts';
import { watchContainerEvents } from '../fixtures/container-events.ts';
import { runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { openCommand } from '../fixtures/stream-client.ts';
import type { CommandClient } from '../fixtures/stream-client.ts';
import { startService } from '../trust-requests/started-service.ts';
import type { StartedService } from '../trust-requests/started-service.ts';

/** The daemon with all its sockets, a trust service, and a pod whose response times are measured. */
export interface Scene {
  readonly stage: Stage;
  readonly image: string;
  readonly victim: { readonly pod: Pod; readonly containerId: string; readonly log: string };
  /** A command in the victim's container whose client stays connected throughout. */
  readonly session: CommandClient;
  /** Returns the number of events of pods and containers since the beginning, by the id of the pod. */
  eventsOf(podId: string): number;
  /** Returns why the stream of events has ended; undefined: it is open. */
  eventsEnd(): string | undefined;
  /** The address of the name server, and the name that is queried. */
  readonly dns: { readonly address: string; readonly name: string };
  readonly driverSocket: string;
  readonly cniSocket: string;
  readonly streamingPort: number;
  readonly trust: StartedService;
  /** `/v2/NAME/_trust/tuf/timestamp.json` of a published collection. */
  readonly timestampPath: string;
  close(): Promise<void>;
}

const network = {
  cniVersion: '1.0.0',
  name: 'shop',
  podNamespaces: ['shop'],
  plugins: [
    {
      ...{
        type: 'bridge',
        bridge: 'exhaust1',
        isGateway: true,
        ipMasq: true,
        capabilities: { aliases: true },
      },
      ipam: { type: 'portcullis-ipam', ranges: [[{ subnet: '10.213.0.0/24' }]] },
    },
  ],
};

/** Opens the scene. Import private-namespaces.ts first. */
export async function openScene(): Promise<Scene> {
  const extra = mkdtempSync(join(tmpdir(), 'pc-exhaust-'));
  const driverSocket = join(extra, 'driver.sock');
  const streamingPort = await freePort();
  const config = join(extra, 'config.yaml');
  writeFileSync(config, `network:\n  dockerDriver: ${driverSocket}\nstreaming:\n  port: ${streamingPort}\n`);
  const stage = await openStage({ flags: ['--config', config] });
  try {
    writeFileSync(join(stage.folders.cniConf, '50-shop.conflist'), JSON.stringify(network));
    const image = await stage.pull((await stage.publish('app/a:1')).reference);
    const watch = await watchEvents(stage);
    const pod = await runPod(stage, 'victim', { annotations: { 'k8s.v1.cni.cncf.io/networks': 'shop' } });
    mkdirSync(join(stage.logs, 'victim', 'main'), { recursive: true });
    const count = 'i=0; while true; do echo line $i; i=$((i+1)); usleep 5000; done';
    const containerId = await runContainer(stage, pod, { image, command: ['sh', '-c', count] });
    const streams = { tty: false, stdin: true, stdout: true, stderr: true };
    const { url } = await stage.daemon.cri.runtime.exec({ containerId, cmd: ['cat'], ...streams });
    const session = await openCommand(url);
    const trust = await startService({ tokens: false });
    return {
      ...{ stage, image, session, driverSocket, streamingPort, trust },
      ...{ eventsOf: watch.of, eventsEnd: watch.end },
      victim: { pod, containerId, log: join(stage.logs, 'victim', 'main', '0.log') },
      dns: { address: '10.213.0.1', name: 'victim' },
      cniSocket: join(stage.folders.state, 'cni.sock'),
      timestampPath: await publish(trust),
      async close() {
        session.drop();
        await watch.stop();
        await trust.end();
        try {
          await stage.close();
        } finally {
          rmSync(extra, { recursive: true, force: true });
        }
      },
    };
  } catch (thrown) {
    await stage.close().catch(() => undefined);
    rmSync(extra, { recursive: true, force: true });
    throw thrown;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Reads events as fast as they come, for as long as the scene exists. */
async function watchEvents(
  stage: Stage,
): Promise<{ of(podId: string): number; end(): string | undefined; stop(): Promise<void> }> {
  const counts = new Map<string, number>();
  let end: string | undefined;
  const watched = await watchContainerEvents(stage.daemon.cri, ({ podSandboxStatus }) => {
    const id = podSandboxStatus?.id ?? '';
    counts.set(id, (counts.get(id) ?? 0) + 1);
  });
  void watched.ended.then((thrown) => (end = thrown === undefined ? 'it ended' : reasonOf(thrown)));
  return { of: (id) => counts.get(id) ?? 0, end: () => end, stop: watched.stop };
}

/** Publishes a collection. @returns the path of its timestamp */
async function publish(trust: StartedService): Promise<string> {
  const address = `http://127.0.0.1:${trust.port}/v2/example.com/app/_trust/tuf/`;
  const key = async (role: string): Promise<never> =>
    (await (await fetch(`${address}${role}.key`)).json()) as never;
  const owner = publisher('example.com/app');
  const online = { snapshot: await key('snapshot'), timestamp: await key('timestamp') };
  const files = [
    { name: 'root', bytes: owner.root(1, online) },
    { name: 'targets', bytes: owner.targets(1, { v1: 'one' }) },
  ];
  assert.equal((await post(address, multipart(files))).status, 200);
  return '/v2/example.com/app/_trust/tuf/timestamp.json';
}

/**
 * Returns sentences about the numbers in the victim's log that are missing or out of order, and the number of
 * lines.
 */
export function gapsOf(log: string): { readonly lines: number; readonly gaps: readonly string[] } {
  const numbers = readFileSync(log, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => Number(/^\S+ stdout F line (\d+)$/u.exec(line)?.[1] ?? Number.NaN));
  const gaps = numbers.flatMap((value, index) =>
    value === index ? [] : [`line ${index} of the log is number ${value}`],
  );
  return { lines: numbers.length, gaps: gaps.slice(0, 3) };
}

/** Returns whether the victim's session still carries bytes both ways. */
export async function sessionAnswers(session: CommandClient): Promise<boolean> {
  const word = `word-${Math.random()}`;
  session.send(`${word}\n`);
  for (let waited = 0; waited < 10_000; waited += 20) {
    if (session.stdout().includes(word)) return true;
    await pause(20);
  }
  return false;
}
