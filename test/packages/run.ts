/**
 * `npm run test:packages -- [--only NAME,NAME] [--runtime crun|runc] [--folder DIR] [--verbose]`
 *
 * Runs the programs of Debian packages under the profile `default` on the running kernel, and counts the
 * system calls that its filter denied to them (recorder.ts). Prints a line for each program and one closing
 * line; exits 1 on a denial that is not a known probe, or when a program fails. Needs root, apt with a mirror
 * and 4 GB of disk; downloads 0.5 GB once into DIR, which is kept (default: a temporary folder).
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { defaultProfile } from '../../entitlements/index.ts';
import { isConstant } from '../../entitlements/seccomp/decision.ts';
import { decisionFor } from '../../entitlements/seccomp/policy.ts';
import { runContained } from './contain.ts';
import { judge, names } from './judge.ts';
import { CONTROL, PROGRAMS } from './programs.ts';
import { openRecorder } from './recorder.ts';
import { debianRoot } from './root.ts';

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    runtime: { type: 'string', default: 'crun' },
    folder: { type: 'string' },
    verbose: { type: 'boolean', default: false },
  },
});
const runtime = values.runtime === 'runc' ? 'runc' : 'crun';
const only = values.only?.split(',');
const programs = PROGRAMS.filter(({ name }) => only === undefined || only.includes(name));
const folder = values.folder ?? mkdtempSync(join(tmpdir(), 'pc-packages-'));
mkdirSync(folder, { recursive: true });

const start = performance.now();
const { root, count } = debianRoot(folder, [
  ...new Set(PROGRAMS.flatMap((program) => [program.name, ...(program.with ?? [])])),
]);
const { syscalls } = defaultProfile();
const allowed = (nr: number): boolean => {
  const name = names.get(nr);
  const rule = name === undefined || !syscalls.filtered ? undefined : decisionFor(syscalls, name);
  return rule !== undefined && isConstant(rule) && rule.otherwise === 'allow';
};
const recorder = openRecorder((nr) => !allowed(nr));
const totals = { clean: 0, denied: 0, failed: 0, lost: 0 };
try {
  const control = await runContained({ folder, root, runtime, program: CONTROL, recorder });
  if (judge(CONTROL, control.denied).denials.length === 0)
    throw new Error(`the recorder does not see a denied unshare: ${control.output}`);
  for (const program of programs) {
    const outcome = await runContained({ folder, root, runtime, program, recorder });
    const { denials, probes } = judge(program, outcome.denied);
    totals.lost += outcome.lost;
    const verdict = outcome.status !== 0 ? 'FAILED' : denials.length > 0 ? 'DENIED' : 'clean';
    totals[verdict === 'clean' ? 'clean' : verdict === 'DENIED' ? 'denied' : 'failed'] += 1;
    const notes = [
      ...denials.map((text) => `denied: ${text}`),
      ...(probes.length > 0 ? [`probed: ${probes.join(', ')}`] : []),
    ];
    process.stdout.write(`${verdict.padEnd(7)} ${program.name.padEnd(26)} ${notes.join('; ')}\n`);
    if (outcome.lost > 0) process.stdout.write(`        ${outcome.lost} events lost\n`);
    if (verdict !== 'clean' || values.verbose)
      process.stdout.write(`        ${outcome.output.slice(-1500).replaceAll('\n', '\n        ')}\n`);
  }
} finally {
  recorder.close();
  if (values.folder === undefined) rmSync(folder, { recursive: true, force: true });
}
const seconds = Math.round((performance.now() - start) / 1000);
process.stdout.write(
  `packages: ${totals.clean} of ${programs.length} ran under default without a denial (${runtime}, ${count} packages unpacked); ${totals.denied} denied, ${totals.failed} failed, ${totals.lost} events lost; ${seconds} s\n`,
);
process.exitCode = totals.clean === programs.length && totals.lost === 0 ? 0 : 1;
