import { setTimeout as pause } from 'node:timers/promises';
import { patience } from '../../fixtures/kubelet/patience.ts';
import type { Node } from './check.ts';
import { defaultNamespace, nodeName } from '../node/pods.ts';

/** Returns the output of a container, as `kubectl logs` shows it. */
export function logOf(
  { kubelet }: Pick<Node, 'kubelet'>,
  pod: string,
  container = 'main',
  query = '',
): Promise<string> {
  return kubelet.server.text(`/containerLogs/${defaultNamespace}/${pod}-${nodeName}/${container}${query}`);
}

/** Waits until a container has written its facts: lines `KEY=VALUE`, followed by a line `done`. */
export async function factsOf(
  node: Pick<Node, 'kubelet'>,
  pod: string,
  container = 'main',
): Promise<ReadonlyMap<string, string>> {
  let text = '';
  for (let attempt = 0; attempt < patience(240); attempt += 1) {
    text = await logOf(node, pod, container).catch((cause: unknown) => String(cause));
    const lines = text.split('\n');
    if (lines.includes('done')) {
      return new Map(
        lines
          .filter((line) => line.includes('='))
          .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
      );
    }
    await pause(250);
  }
  throw new Error(`${pod} did not write its facts in time; its log: ${text.slice(-500)}`);
}

/** Returns a script that prints the result of each command and then keeps running. */
export function printingFacts(commands: Readonly<Record<string, string>>): {
  readonly command: readonly string[];
} {
  const lines = Object.entries(commands).map(
    ([key, command]) => `echo "${key}=$(${command} 2>&1 | tr '\\n' ' ' | sed 's/ *$//')"`,
  );
  return { command: ['sh', '-c', `${lines.join('\n')}\necho done\nexec sleep 600`] };
}
