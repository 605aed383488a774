import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import pLimit from 'p-limit';

export type Question =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | {
      readonly kind: 'dns';
      readonly host: string;
      readonly name: string;
      readonly type: 'A' | 'AAAA' | 'PTR';
    };

/** A client that sends probes from a network namespace. */
export interface Prober {
  readonly pid: number;
  ask(question: Question): Promise<string>;
  close(): Promise<void>;
}

/** @param netns the path of the namespace; absent: this process's own */
export function startProber(netns?: string): Prober {
  const program = [process.execPath, join(import.meta.dirname, 'prober.ts')];
  const [first = '', ...words] = netns === undefined ? program : ['nsenter', `--net=${netns}`, ...program];
  const child = spawn(first, words, {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, NODE_TEST_CONTEXT: undefined },
  });
  const waiting = new Map<number, (answer: string) => void>();
  let last = 0;
  createInterface({ input: child.stdout }).on('line', (line) => {
    const { id, answer } = JSON.parse(line) as { readonly id: number; readonly answer: string };
    waiting.get(id)?.(answer);
    waiting.delete(id);
  });
  const exited = once(child, 'exit');
  child.once('exit', () => {
    for (const answer of waiting.values()) answer('the prober has ended');
  });
  // busybox's httpd has at most nine waiting connections, those of both probers together.
  const connections = pLimit(3);
  const send = (question: Question): Promise<string> =>
    new Promise((resolve) => {
      last += 1;
      waiting.set(last, resolve);
      child.stdin.write(`${JSON.stringify({ id: last, question })}\n`);
    });
  return {
    pid: child.pid ?? 0,
    ask: (question) => (question.kind === 'tcp' ? connections(() => send(question)) : send(question)),
    async close() {
      child.stdin.end();
      await exited;
    },
  };
}
