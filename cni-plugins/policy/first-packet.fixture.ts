import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { eventually, tried } from '../engine/engine.fixture.ts';
import type { Fixture, Pod } from '../engine/engine.fixture.ts';
import type { Attachment, NetworkEngine } from '../types.ts';

/**
 * A pod that sends everything it can from the moment it has a link, with all capabilities (raw frames) and
 * with none; and listeners behind the rules: for frames in the other pods, for datagrams on the host's
 * sockets.
 */
export interface Scene {
  /** Attaches the pod to the network that every pod gets, or to the network of this conflist. */
  attach(pod: Pod, configuration?: object): Promise<Attachment>;
  at(pod: Pod): Attachment;
  /** Starts a listener; undefined: on the host. Returns once it hears. */
  listen(pod: Pod | undefined): Promise<void>;
  /** Returns what was heard there, sorted, each kind once. */
  arrived(pod: Pod | undefined): string[];
  /** Waits for these kinds, and fails if any other arrived. */
  settled(pod: Pod | undefined, kinds: readonly string[]): Promise<void>;
  /** Starts both senders in the pod, which has no link yet. @param self the addresses that it will have */
  send(from: Pod, self: readonly string[], gateway: readonly string[], to: readonly Pod[]): void;
  end(): void;
}

const python = '/usr/bin/python3';
// Passed as text, because the user that runs it may not have access to this folder.
const hostile = ['-c', readFileSync(join(import.meta.dirname, 'fixtures', 'hostile.py'), 'utf8')];
const withoutCapabilities = [
  'setpriv',
  '--reuid=65534',
  '--clear-groups',
  '--bounding-set=-all',
  '--inh-caps=-all',
];

export const plainAddress = (attachment: Attachment, index: number): string =>
  attachment.ips[index]?.address.split('/')[0] ?? '';

/**
 * @param label distinguishes files and pods of this scene from those of others: the last character of a pod's
 * name
 */
export function openScene(fixture: Fixture, engine: NetworkEngine, label: string): Scene {
  const started: ChildProcess[] = [];
  const attachments = new Map<Pod, Attachment>();
  const logs = new Map<Pod | undefined, string>();
  const start = (...[command = '', ...args]: string[]): void =>
    void started.push(fixture.start(command, ...args));
  const inside = (pod: Pod, ...command: string[]): void =>
    start('nsenter', `--net=${pod.request.netns}`, ...command);
  const at = (pod: Pod): Attachment => attachments.get(pod) ?? assert.fail('it is not attached');
  const arrived = (pod: Pod | undefined): string[] =>
    readFileSync(logs.get(pod) ?? '', 'utf8')
      .split('\n')
      .slice(1, -1)
      .sort();
  return {
    at,
    arrived,
    async attach(pod, configuration) {
      const other = join(fixture.confDir, '05-other.conflist');
      if (configuration !== undefined) writeFileSync(other, JSON.stringify(configuration));
      const attachment = await engine.attach(pod.request);
      rmSync(other, { force: true });
      attachments.set(pod, attachment);
      return attachment;
    },
    async listen(pod) {
      const log = join(fixture.folder, `${pod?.request.pod.name ?? `host${label}`}.log`);
      logs.set(pod, log);
      if (pod === undefined) start(python, ...hostile, 'sockets', log);
      else inside(pod, python, ...hostile, 'frames', log);
      await eventually(() => tried(`grep -q ready ${log}`), 5000);
    },
    async settled(pod, kinds) {
      await eventually(() => kinds.every((kind) => arrived(pod).includes(kind)) || undefined, 8000).catch(
        () => undefined,
      );
      assert.deepEqual(arrived(pod), kinds, pod?.request.pod.name ?? 'the host');
    },
    send(from, self, gateway, to) {
      const pods = to.map((pod) => [
        pod.request.pod.name.slice(0, -1),
        plainAddress(at(pod), 0),
        plainAddress(at(pod), 1),
        at(pod).interface.mac,
      ]);
      const targets = JSON.stringify({ self, gateway, pods });
      inside(from, python, ...hostile, 'flood', targets);
      inside(from, ...withoutCapabilities, python, ...hostile, 'plain', targets);
    },
    end: () => started.splice(0).forEach((child) => child.kill('SIGKILL')),
  };
}

/** Returns the sender's own address, which is known beforehand: the next one of the range. */
export const following = (address: string, by: number): string =>
  address.replace(/(\d+)$/u, (_all, digits: string) => String(Number(digits) + by));
