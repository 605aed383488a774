/**
 * `npm run test:packages:daemon -- [--only NAME,NAME] [--runtime crun|runc] --folder DIR`
 *
 * The same programs, each in a pod of a running daemon, created through CRI as a kubelet creates it: its
 * image is pulled and verified, the pod's annotation names the profile `default`, and the package's files are
 * volumes of the host. Prints a line for each program and one closing line; exits 1 on a denial that is not a
 * known probe, or when a program fails.
 */
import '../fixtures/private-namespaces.ts';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import { defaultProfile } from '../../entitlements/index.ts';
import { isConstant } from '../../entitlements/seccomp/decision.ts';
import { decisionFor } from '../../entitlements/seccomp/policy.ts';
import { ContainerState } from '../../runtime/client.ts';
import { createContainer, removePod, runPod } from '../fixtures/pod.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { judge, names } from './judge.ts';
import { CONTROL, PRELUDE, PROGRAMS } from './programs.ts';
import type { Program } from './programs.ts';
import { openRecorder } from './recorder.ts';
import type { Denied } from './recorder.ts';
import { debianRoot } from './root.ts';

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    runtime: { type: 'string', default: 'crun' },
    folder: { type: 'string' },
  },
});
if (values.folder === undefined) throw new TypeError('say by --folder where the packages are kept');
const folder = values.folder;
const only = values.only?.split(',');
const programs = PROGRAMS.filter(({ name }) => only === undefined || only.includes(name));
/** Time limit for a server that ignores the request to stop. */
const PATIENCE_MS = 90_000;
const MERGED = ['bin', 'sbin', 'lib', 'lib64'];

mkdirSync(folder, { recursive: true });
const { root, count } = debianRoot(folder, [
  ...new Set(PROGRAMS.flatMap((program) => [program.name, ...(program.with ?? [])])),
]);
const { syscalls } = defaultProfile();
const recorder = openRecorder((nr) => {
  const name = names.get(nr);
  const rule = name === undefined || !syscalls.filtered ? undefined : decisionFor(syscalls, name);
  return rule === undefined || !isConstant(rule) || rule.otherwise !== 'allow';
});
const start = performance.now();
const stage = await openStage();
const totals = { clean: 0, denied: 0, failed: 0, lost: 0 };
try {
  const image = await stage.pull((await stage.publish('packages/base:1')).reference);
  const control = await inPod(stage, image, CONTROL);
  if (judge(CONTROL, control.denied).denials.length === 0)
    throw new Error(`the recorder does not see a denied unshare: ${control.output}`);
  for (const program of programs) {
    const outcome = await inPod(stage, image, program);
    const { denials, probes } = judge(program, outcome.denied);
    totals.lost += outcome.lost;
    const verdict = outcome.status !== 0 ? 'FAILED' : denials.length > 0 ? 'DENIED' : 'clean';
    totals[verdict === 'clean' ? 'clean' : verdict === 'DENIED' ? 'denied' : 'failed'] += 1;
    const notes = [
      ...denials.map((text) => `denied: ${text}`),
      ...(probes.length > 0 ? [`probed: ${probes.join(', ')}`] : []),
    ];
    console.log(`${verdict.padEnd(7)} ${program.name.padEnd(26)} ${notes.join('; ')}`);
    if (verdict !== 'clean')
      console.log(`        ${outcome.output.slice(-1500).replaceAll('\n', '\n        ')}`);
  }
} finally {
  recorder.close();
  await stage.close();
}
console.log(
  `packages through the daemon: ${totals.clean} of ${programs.length} ran under default without a denial (${values.runtime}, ${count} packages unpacked); ${totals.denied} denied, ${totals.failed} failed, ${totals.lost} events lost; ${Math.round((performance.now() - start) / 1000)} s`,
);
process.exitCode = totals.clean === programs.length && totals.lost === 0 ? 0 : 1;

/** Runs one pod with one container, recorded from its program's first instruction, on its own overlay. */
async function inPod(
  on: Stage,
  image: string,
  program: Program,
): Promise<{ status: number | null; output: string; denied: readonly Denied[]; lost: number }> {
  const name = program.name.replaceAll(/[^a-z0-9]/g, '-');
  const place = join(folder, `pod-${process.pid}-${name}`);
  const [upper = '', work = '', merged = ''] = ['upper', 'work', 'merged'].map((part) => join(place, part));
  for (const path of [upper, work, merged]) mkdirSync(path, { recursive: true });
  execFileSync('mount', [
    '-t',
    'overlay',
    'overlay',
    '-o',
    `lowerdir=${root},upperdir=${upper},workdir=${work}`,
    merged,
  ]);
  const pod = await runPod(
    on,
    name,
    { annotations: { 'portcullis.dev/profile': 'default' } },
    values.runtime,
  );
  try {
    const own = readdirSync(merged).filter(
      (entry) => !['dev', 'proc', 'sys', 'tmp', ...MERGED].includes(entry),
    );
    const mounts = [
      ...own.map((entry) => ({ containerPath: `/${entry}`, hostPath: join(merged, entry) })),
      ...MERGED.map((entry) => ({ containerPath: `/${entry}`, hostPath: join(merged, 'usr', entry) })),
    ];
    const script = `(${PRELUDE}\n${program.script}\n); s=$?; echo; echo "::exit $s"`;
    const containerId = await createContainer(on, pod, {
      image,
      command: ['/bin/sh', '-c', script],
      more: { mounts },
    });
    const { info } = await on.daemon.cri.runtime.containerStatus({ containerId, verbose: true });
    const { pid } = JSON.parse(info['info'] ?? '{}') as { readonly pid: number };
    const recording = recorder.record(pid);
    await on.daemon.cri.runtime.startContainer({ containerId });
    const until = performance.now() + PATIENCE_MS;
    for (let running = true; running && performance.now() < until; await sleep(50)) {
      const { status } = await on.daemon.cri.runtime.containerStatus({ containerId });
      running = status?.state === ContainerState.CONTAINER_RUNNING;
    }
    const { denied, lost } = recording.stop();
    const output = readFileSync(join(on.logs, name, 'main/0.log'), 'utf8').replaceAll(
      /^\S+ std(?:out|err) [FP] /gm,
      '',
    );
    const said = /^::exit (\d+)$/m.exec(output)?.[1];
    return { status: said === undefined ? null : Number(said), output, denied, lost };
  } finally {
    await removePod(on, pod);
    spawnSync('umount', ['--lazy', merged]);
    rmSync(place, { recursive: true, force: true });
  }
}
