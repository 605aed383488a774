import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from './expect.ts';
import { containerConfig, execute, portAnswers, podConfig, readLog, readPage } from './pod.ts';
import { crictlSteps } from './crictl.ts';
import { page } from './context.ts';
import type { Context } from './context.ts';
import { filesBelow, kernelTraces } from './traces.ts';

/** Runs the signed image as a pod with a profile, checks the confinement, and removes it without traces. */
export async function runSteps(context: Context, imageRef: string): Promise<void> {
  const { report, environment, daemon, reference } = context;
  const { runtime } = daemon.cri;
  const config = podConfig(environment, 'web');

  report.chapter('It runs, with a profile');
  const { podSandboxId } = await report.step('RunPodSandbox', () => runtime.runPodSandbox({ config }));
  const { containerId } = await report.step('CreateContainer: decided again, for this namespace', () =>
    runtime.createContainer({
      podSandboxId,
      config: containerConfig(reference, imageRef, config),
      sandboxConfig: config,
    }),
  );
  await report.step('StartContainer', () => runtime.startContainer({ containerId }));
  const { status } = await runtime.podSandboxStatus({ podSandboxId });
  const address = status?.network?.ip ?? '';
  await report.step(
    'its page answers from the host',
    async () => {
      const found = await readPage(address);
      expect(found === page, page, found);
      return found;
    },
    (found) => `http://${address}:8080/  ${found}`,
  );
  await report.step(
    'its log is read, in the CRI format',
    async () => {
      const lines = await readLog(join(config.logDirectory, 'server/0.log'), 'serving on port');
      expect(
        /^\S+ stdout F serving on port/.test(lines[0] ?? ''),
        'TIME stdout F serving on port …',
        lines[0] ?? '',
      );
      return lines;
    },
    (lines) => lines.slice(0, 2),
  );
  await reportWalls(context, containerId);
  await crictlSteps(context, containerId);

  report.chapter('It goes, and nothing is left');
  await report.step('StopContainer, RemoveContainer', async () => {
    await runtime.stopContainer({ containerId, timeout: 10 });
    await runtime.removeContainer({ containerId });
  });
  await report.step('StopPodSandbox, RemovePodSandbox', async () => {
    await runtime.stopPodSandbox({ podSandboxId });
    await runtime.removePodSandbox({ podSandboxId });
  });
  await report.step('its port no longer answers', async () => {
    expect(!(await portAnswers(address)), 'no answer', 'it still answers');
  });
  await report.step(
    'only the pool of namespaces is left',
    () => expectOnlyThePool(context, [podSandboxId, containerId], address),
    (pool) => [
      `${pool} namespaces kept ready for the next pods`,
      'no mount, link, address, rule, cgroup, process or file of this pod',
    ],
  );
}

async function reportWalls({ report, daemon }: Context, containerId: string): Promise<void> {
  const run = (...command: string[]) => execute(daemon.cri, containerId, command);
  await report.step(
    'exec works',
    async () => {
      const { exitCode, output } = await run(
        'sh',
        '-c',
        'echo "$(hostname), uid $(id -u), $(ls / | wc -w) folders"',
      );
      expect(exitCode === 0 && output.startsWith('web, uid 0'), 'web, uid 0', output);
      return output;
    },
    (output) => output,
  );
  const forbidden = async (command: readonly string[]) => {
    const { exitCode, output } = await run(...command);
    expect(
      exitCode !== 0 && /not permitted|not implemented/i.test(output),
      'Operation not permitted',
      `exit ${exitCode}: ${output}`,
    );
    return output;
  };
  const withCommand = (command: string) => (output: string) => [`# ${command}`, output];
  await report.step(
    'a forbidden system call fails inside, for root too',
    () => forbidden(['unshare', '--user', 'true']),
    withCommand('unshare --user true'),
  );
  await report.step(
    'a forbidden capability fails inside, for root too',
    () => forbidden(['ip', 'link', 'set', 'lo', 'down']),
    withCommand('ip link set lo down'),
  );
  await report.step(
    'the kernel says the same',
    async () => {
      const { output } = await run('cat', '/proc/self/status');
      const field = (name: string): string => new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(output)?.[1] ?? '';
      expect(field('Seccomp') === '2', 'Seccomp: 2 (a filter)', field('Seccomp'));
      const granted = BigInt(`0x${field('CapBnd')}`);
      const all = BigInt(
        `0x${/^CapBnd:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`,
      );
      expect((granted & ~all) === 0n && granted < all, 'fewer capabilities than the host', field('CapBnd'));
      return `seccomp filter, ${countBits(granted)} of ${countBits(all)} capabilities, no_new_privs ${field('NoNewPrivs')}`;
    },
    (reported) => reported,
  );
}

function countBits(set: bigint): number {
  return set.toString(2).replaceAll('0', '').length;
}

/** Checks that only the pool is left. Returns the number of pinned namespaces that the pool keeps. */
function expectOnlyThePool({ environment }: Context, ids: readonly string[], address: string): number {
  const traces = kernelTraces(environment.folder, environment.cgroupParent);
  const marks = [...ids, environment.cgroupParent, address];
  const left = [
    ...traces.filter(
      (trace) =>
        marks.some((mark) => trace.includes(mark)) ||
        // A monitor that waits for the next container is left, and names none of these ids.
        /^link veth|mount .*(overlay|merged|rootfs)/.test(trace),
    ),
    ...filesBelow(environment.root)
      .concat(filesBelow(environment.state))
      .filter((path) => ids.some((id) => path.includes(id))),
  ];
  expect(left.length === 0, 'nothing of the pod is left', left.join('\n'));
  return traces.filter((trace) => /^mount .*\/(net|ipc|uts)$/.test(trace)).length;
}
