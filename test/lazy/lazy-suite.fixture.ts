import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { findRegistry, startRegistry } from '../fixtures/registry.ts';
import type { TestRegistry } from '../fixtures/registry.ts';
import { startBlobProxy } from '../../runtime/images/lazy/lazy-image.fixture.ts';
import type { BlobProxy } from '../../runtime/images/lazy/lazy-image.fixture.ts';
import { whyNoPreContentEvents } from '../../runtime/images/lazy/probe.ts';
import { openKit } from '../../runtime/images/test-kit.ts';
import type { Kit } from '../../runtime/images/test-kit.ts';

/** The reason why the suite cannot run here; false if it can run. */
export const whyNot: string | false =
  findRegistry() === undefined ? 'no docker-registry' : (whyNoPreContentEvents('/var/tmp') ?? false);

export interface Place {
  readonly registry: TestRegistry;
  readonly proxy: BlobProxy;
  readonly kit: Kit;
  /** Pulls an image and mounts it for a container. */
  start(name: string, container: string): Promise<{ readonly path: string; readonly layer: string }>;
  close(): Promise<void>;
}

/** Opens a registry, a proxy before it, and a store that starts images lazily. */
export async function openPlace(options: Parameters<typeof openKit>[1] = {}): Promise<Place> {
  const registry = await startRegistry();
  const proxy = await startBlobProxy(registry.host);
  const kit = await openKit(proxy.host, { lazy: true, ...options });
  const containers = new Set<string>();
  return {
    registry,
    proxy,
    kit,
    async start(name, container) {
      const { image } = await kit.store.pull({ reference: kit.reference(name), namespace: '' });
      containers.add(container);
      const { path } = await kit.store.mountRootfs(container, image);
      return { path, layer: image.layers[0]?.slice('sha256:'.length) ?? '' };
    },
    async close() {
      for (const container of containers) await kit.store.removeRootfs(container);
      await kit.close();
      await proxy.close();
      await registry.close();
    },
  };
}

/** The filler of a store and its keeper. */
export function fillerOf(folder: string): { readonly filler: number; readonly keeper: number } {
  const processes = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const commandOf = (pid: string): string => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    } catch {
      return '';
    }
  };
  const filler = Number(processes.find((pid) => commandOf(pid).includes(`${folder}/filler.sock`)));
  const keeper = processes.find(
    (pid) =>
      commandOf(pid).startsWith('portcullis-gate') &&
      readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ')[1] === String(filler),
  );
  return { filler, keeper: Number(keeper) };
}

/** Ends a process that is not a child of this one, and waits for its end. */
export async function endProcess(pid: number): Promise<void> {
  process.kill(pid, 'SIGKILL');
  for (;;) {
    try {
      if (readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.startsWith('Z') === true) return;
    } catch {
      return;
    }
    await pause(5);
  }
}

export interface Read {
  readonly bytes: Buffer;
  /** The reason that dd reports if it failed. */
  readonly failure: string;
}

/** Begins to read a part of a file in a separate process. */
export function beginRead(
  path: string,
  offset: number,
  length: number,
): { readonly child: ChildProcess; readonly ended: Promise<Read> } {
  const child = spawn(
    'dd',
    [
      `if=${path}`,
      'iflag=skip_bytes,count_bytes',
      `skip=${offset}`,
      `count=${length}`,
      'bs=64K',
      'status=none',
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const out: Buffer[] = [];
  let failure = '';
  child.stdout.on('data', (part: Buffer) => out.push(part));
  child.stderr.on('data', (part: Buffer) => (failure += part.toString('utf8')));
  const ended = new Promise<Read>((resolve) => {
    child.once('close', () => {
      resolve({ bytes: Buffer.concat(out), failure });
    });
  });
  return { child, ended };
}

/** Waits until a condition is met. */
export async function until(holds: () => boolean, what: string, ms = 20_000): Promise<void> {
  for (let waited = 0; !holds(); waited += 20) {
    if (waited > ms) throw new Error(`${what}: not after ${ms} ms`);
    await pause(20);
  }
}
