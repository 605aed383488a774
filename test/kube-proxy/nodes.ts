import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Answer, Probe, TestEnd } from './end.ts';
import type { ApiObject, Collection } from './api.ts';
import type { ProxyKind, ProxyOptions } from './proxies.ts';

export type NodeOptions = Omit<ProxyOptions, 'server'>;

export type Call =
  | { readonly id: number; readonly on: 'proxy'; readonly verb: 'kill' | 'start'; readonly with: readonly [] }
  | {
      readonly id: number;
      readonly on: 'api';
      readonly verb: 'put' | 'remove';
      readonly with: readonly [Collection, ApiObject];
    }
  | {
      readonly id: number;
      /** An end. */
      readonly on: `end ${string}`;
      readonly verb: keyof TestEnd;
      readonly with: readonly unknown[];
    };

/** A compared node, from outside its process. */
export interface TestNode {
  readonly kind: ProxyKind;
  /** Changes an object at the API server of the node. */
  put(collection: Collection, object: ApiObject): Promise<void>;
  remove(collection: Collection, object: ApiObject): Promise<void>;
  probe(end: string, probes: readonly Probe[]): Promise<readonly (readonly Answer[])[]>;
  open(end: string, flows: readonly Probe[]): Promise<readonly (readonly Answer[])[]>;
  ask(end: string, patienceMs: number): Promise<readonly (readonly Answer[])[]>;
  end(end: string): Promise<void>;
  get(end: string, address: string, port: number): Promise<string>;
  killProxy(): Promise<void>;
  startProxy(): Promise<void>;
  close(): Promise<void>;
}

/** Starts a node and its proxy. */
export async function openNode(options: NodeOptions): Promise<TestNode> {
  mkdirSync(options.folder, { recursive: true });
  const child = spawn(
    'setpriv',
    ['--pdeathsig', 'KILL', 'unshare', '--net', process.execPath, join(import.meta.dirname, 'node.ts')],
    {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      // The threads of a node load the same files.
      env: { ...process.env, NODE_COMPILE_CACHE: join(options.folder, '../../compiled') },
    },
  );
  const [first] = (await Promise.race([
    once(child, 'message'),
    once(child, 'exit').then(([code]) => [`ended with status ${String(code)}`]),
  ])) as [unknown];
  if (first !== 'ready') throw new Error(`the node of ${options.kind} ${String(first)}`);
  child.send(options);
  const waiting = new Map<number, { resolve: (answer: unknown) => void; reject: (error: Error) => void }>();
  child.on('message', ({ id, answer, failure }: { id: number; answer: unknown; failure?: string }) => {
    const waiter = waiting.get(id);
    waiting.delete(id);
    if (failure === undefined) waiter?.resolve(answer);
    else waiter?.reject(new Error(`${options.kind}: ${failure}`));
  });
  let calls = 0;
  const call = <T>(on: Call['on'], verb: Call['verb'], ...given: readonly unknown[]): Promise<T> => {
    calls += 1;
    const id = calls;
    const answer = new Promise<unknown>((resolve, reject) => waiting.set(id, { resolve, reject }));
    child.send({ id, on, verb, with: given });
    return answer as Promise<T>;
  };
  return {
    kind: options.kind,
    put: (collection, object) => call('api', 'put', collection, object),
    remove: (collection, object) => call('api', 'remove', collection, object),
    probe: (end, probes) => call(`end ${end}`, 'probe', probes),
    open: (end, flows) => call(`end ${end}`, 'open', flows),
    ask: (end, patienceMs) => call(`end ${end}`, 'ask', patienceMs),
    end: (end) => call(`end ${end}`, 'end'),
    get: (end, address, port) => call(`end ${end}`, 'get', address, port),
    killProxy: () => call('proxy', 'kill'),
    startProxy: () => call('proxy', 'start'),
    async close() {
      const ended = once(child, 'exit');
      child.disconnect();
      await ended;
    },
  };
}
