/**
 * `npm run bench:entitlements`: measures the cost of confinement. Compares the default profile's program with
 * libseccomp's tree (instructions, and the average number executed for the granted calls: the same on every
 * machine). Measures its compilation, the proof, a known profile, and the creation of a container with our
 * filter, without one, and with libseccomp's. Containers need root and crun.
 */
import { spawnSync } from 'node:child_process';
import { boundingCapabilities } from '../base/kernel/index.ts';
import { temporaryBundle } from '../entitlements/compile/fixtures/container.ts';
import { compile, createProver, defaultProfile, detectKernel } from '../entitlements/index.ts';
import type { Settings, Target } from '../entitlements/index.ts';
import { proveFilter } from '../entitlements/proof/prove.ts';
import { basePolicy } from '../entitlements/compile/base-set.ts';
import { generateBpf } from '../entitlements/seccomp/bpf-generator.ts';
import { libseccompTree, programCosts } from '../entitlements/seccomp/fixtures/program-costs.ts';
import { exportOci } from '../entitlements/seccomp/oci-export.ts';

const profile = { ...defaultProfile(), ambient: [] };
const policy = profile.syscalls;
if (!policy.filtered) throw new Error('the default profile filters');
const target: Target = {
  architecture: 'x86_64',
  runtime: 'crun',
  kernel: detectKernel(),
  heldCapabilities: boundingCapabilities(),
};
const closing: string[] = [];
const report = (text: string): void => {
  closing.push(text);
  console.log(text);
};

const ours = programCosts(generateBpf(policy, 'x86_64'), policy, 'x86_64');
if (spawnSync('/usr/bin/python3', ['-c', 'import seccomp']).status === 0) {
  const theirs = programCosts(libseccompTree(exportOci(policy, 'x86_64')), policy, 'x86_64');
  const ratio = (of: 'executed' | 'instructions'): string =>
    `${ours[of].toFixed(1)} ${of} of libseccomp's ${theirs[of].toFixed(1)}: ${(ours[of] / theirs[of]).toFixed(2)}`;
  report(`${ratio('instructions')}, ${ratio('executed')}`);
} else
  report(
    `${ours.instructions} instructions, ${ours.executed.toFixed(1)} executed (python3-seccomp is not installed)`,
  );

const compiled = sampled(40, (at) =>
  compile(profile, { ...target, heldCapabilities: [...boundingCapabilities(), `NOT_KNOWN_${at}`] }),
);
const settings = compile(profile, target);
const proved = sampled(20, () =>
  proveFilter({ policy, architecture: 'x86_64', base: basePolicy('crun') }, settings.seccomp),
);
report(`compile ${median(compiled).toFixed(1)} ms, proof ${median(proved).toFixed(1)} ms, warm`);

const prover = createProver();
const first = await timed(() => prover.settings(profile, target));
const known = await timed(() => prover.settings(profile, target));
await prover.close();
report(`first through the Worker ${first.toFixed(0)} ms, known ${known.toFixed(2)} ms`);

if (process.getuid?.() === 0 && spawnSync('crun', ['--version']).status === 0) containers(settings);
console.log(`entitlements: ${closing.join('; ')}`);

/** The three variants take turns, so that other load on the machine affects each alike. */
function containers(filtered: Settings): void {
  const { seccomp, ...without } = filtered;
  const kinds: readonly (readonly [string, Settings])[] = [
    ['ours', filtered],
    ['no filter', without],
    ...(seccomp === undefined
      ? []
      : [['libseccomp', { ...filtered, seccomp: { ...seccomp, bpf: new Uint8Array() } }] as const]),
  ];
  const bundle = temporaryBundle();
  try {
    const times = new Map<string, number[]>(kinds.map(([name]) => [name, []]));
    for (let round = 0; round < 40; round++) {
      for (const [name, of] of kinds) {
        const start = performance.now();
        const { status, stderr } = bundle.run('crun', of, ['true']);
        if (status !== 0) throw new Error(stderr);
        times.get(name)?.push(performance.now() - start);
      }
    }
    const of = (name: string): readonly number[] => times.get(name) ?? [];
    // Uses the difference within each round.
    const more = (name: string): string =>
      `${median(of(name).map((time, at) => time - (of('no filter')[at] ?? 0))).toFixed(1)} ms more`;
    report(
      `a container (create, start, wait) without a filter ${median(of('no filter')).toFixed(1)} ms, with ours ${more('ours')}, with libseccomp's ${more('libseccomp')}`,
    );
  } finally {
    bundle.remove();
  }
}

function sampled(count: number, run: (at: number) => unknown): number[] {
  return Array.from({ length: count }, (_, at) => {
    const start = performance.now();
    run(at);
    return performance.now() - start;
  });
}

async function timed(run: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await run();
  return performance.now() - start;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
}
