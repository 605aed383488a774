import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findProgram } from '../doctor/programs.ts';
import { expect } from './expect.ts';
import { podConfig } from './pod.ts';
import type { Context } from './context.ts';

/** Repeats the flow with crictl, if installed: the commands that a user of a node would type. */
export async function crictlSteps(
  { report, environment, reference }: Context,
  containerId: string,
): Promise<void> {
  const program = findProgram('crictl');
  if (program === undefined) return;
  const endpoint = `unix://${environment.socket}`;
  const crictl = async (...args: string[]): Promise<string> => {
    const run = await promisify(execFile)(program, [
      '--runtime-endpoint',
      endpoint,
      '--image-endpoint',
      endpoint,
      '--timeout',
      '10s',
      ...args,
    ]);
    return run.stdout.trim();
  };
  await report.step(
    'crictl sees the same, and runs another one',
    async () => {
      expect(
        (await crictl('ps', '--quiet')).split('\n').includes(containerId),
        `crictl ps lists ${containerId}`,
        await crictl('ps'),
      );
      expect(
        (await crictl('exec', '--sync', containerId, 'hostname')) === 'web',
        'crictl exec prints web',
        'something else',
      );
      const pod = join(environment.folder, 'crictl-pod.json');
      const container = join(environment.folder, 'crictl-container.json');
      writeFileSync(pod, JSON.stringify(snakeCase(podConfig(environment, 'crictl'))));
      writeFileSync(
        container,
        JSON.stringify({
          metadata: { name: 'server' },
          image: { image: reference },
          log_path: 'server/0.log',
          linux: {},
        }),
      );
      await crictl('pull', '--pod-config', pod, reference);
      const sandbox = await crictl('runp', pod);
      const id = await crictl('create', sandbox, container, pod);
      await crictl('start', id);
      await crictl('stop', id);
      await crictl('rm', id);
      await crictl('stopp', sandbox);
      await crictl('rmp', sandbox);
    },
    () => 'pull, runp, create, start, exec -s, ps, stop, rm, stopp, rmp',
  );
}

/** Converts field names to those of the CRI's JSON form. */
function snakeCase(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(snakeCase);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      // The keys of maps are data, not field names.
      key === 'labels' || key === 'annotations' ? inner : snakeCase(inner),
    ]),
  );
}
