import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { createTrustServices, gather, loadPolicy, openRegistries } from '../trust/index.ts';
import { openOwner } from '../trust/tuf-author/index.ts';
import { testRepository } from '../trust/tuf/fixtures/repository.fixture.ts';
import { testService } from '../trust/tuf/fixtures/served-repository.fixture.ts';
import { createDecider } from '../trust/verdict/index.ts';

/**
 * `npm run bench:tuf`: a service with 50,000 targets is read, verified, searched and used for decisions. Also
 * measures the effect on the main thread.
 */
const image = 'r.example/app';
const targets = 50_000;
const hashOf = (tag: string): string => createHash('sha256').update(tag).digest('hex');

async function serve(folder: string): Promise<void> {
  const service = await testService();
  const repository = testRepository('tuf');
  const entries = Array.from(
    { length: targets },
    (_, index): [string, { length: number; hashes: { sha256: string } }] => [
      `v${index}`,
      { length: 1024 + index, hashes: { sha256: hashOf(`v${index}`) } },
    ],
  );
  repository.targets['targets'] = Object.fromEntries(entries);
  const { root, targets: bytes } = service.publish(image, repository);
  await writeFile(join(folder, 'root.json'), root ?? '');
  process.stdout.write(`${JSON.stringify({ url: service.url, bytes: bytes?.length })}\n`);
}

const milliseconds = async (body: () => Promise<unknown>): Promise<number> => {
  const started = performance.now();
  await body();
  return performance.now() - started;
};

async function measure(folder: string): Promise<void> {
  const child = spawn(process.execPath, [import.meta.filename, 'serve', folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  const { url, bytes } = JSON.parse(line) as { url: string; bytes: number };
  const policyFile = join(folder, 'policy.yaml');
  await writeFile(
    policyFile,
    `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ['${image}']\n    require: { tuf: { service: '${url}', root: root.json } }\n`,
  );
  const { policy } = await loadPolicy({ paths: [policyFile] });
  const services = createTrustServices({
    folder: join(folder, 'state'),
    sharedMs: 60_000,
    deadlineMs: 60_000,
  });
  const decider = createDecider();
  const delay = monitorEventLoopDelay({ resolution: 1 });
  try {
    delay.enable();
    await pause(3000);
    delay.disable();
    const idle = delay.percentile(99.9) / 1e6;
    delay.reset();
    delay.enable();
    const cold = await milliseconds(() => services.ask({ policy, reference: `${image}:v1` }));
    const lookUps: number[] = [];
    for (let index = 0; index < 50; index += 1)
      lookUps.push(await milliseconds(() => services.ask({ policy, reference: `${image}:v${index * 997}` })));
    const signed = await services.ask({ policy, reference: `${image}:v7` });
    const digest = signed?.digest ?? '';
    if (digest !== `sha256:${hashOf('v7')}` || signed === undefined) throw new Error(`v7 is ${digest}`);
    const now = new Date();
    const dossier = await gather({
      ...{
        reference: `${image}:v7`,
        digest,
        manifestDigest: digest,
        repositories: [nowhere],
        policy,
        now,
        signed,
        decider,
      },
    });
    const question = {
      dossier,
      reference: `${image}:v7`,
      namespace: '',
      platform: { os: 'linux', architecture: 'amd64' },
      policy,
    };
    const decisions: number[] = [];
    for (let index = 0; index < 10; index += 1) {
      const started = performance.now();
      const { outcome, reasons } = await decider.decide({ ...question, now });
      decisions.push(performance.now() - started);
      if (outcome !== 'admit') throw new Error(JSON.stringify(reasons));
    }
    delay.disable();
    lookUps.sort((a, b) => a - b);
    decisions.sort((a, b) => a - b);
    const p999 = delay.percentile(99.9) / 1e6;
    const median = (times: readonly number[]): string => (times[times.length >> 1] ?? 0).toFixed(1);
    process.stdout.write(
      `tuf: ${targets} targets (${(bytes / 2 ** 20).toFixed(1)} MiB) read and verified in ${cold.toFixed(0)} ms; look-up p50 ${median(lookUps)} ms, ` +
        `worst ${(lookUps.at(-1) ?? 0).toFixed(1)} ms; new decision p50 ${median(decisions)} ms; ` +
        `event loop delay p99.9 ${p999.toFixed(1)} ms (idle beside it ${idle.toFixed(1)} ms)\n`,
    );
    if ((lookUps[lookUps.length >> 1] ?? 0) > 50 || p999 > Math.max(20, idle * 2)) process.exitCode = 1;
  } finally {
    await services.close();
    await decider.close();
    child.kill();
  }
}

/**
 * The same for the owner: create, publish to a folder, and list as `portcullis trust list` does, the first
 * time and again.
 */
async function list(folder: string): Promise<void> {
  const registries = await openRegistries({ mirrors: [], insecureHosts: [] });
  const owner = await openOwner({
    ...{ folder: join(folder, 'owner'), name: image, signers: [], registries, now: new Date() },
    passphrase: { environment: { PORTCULLIS_PASSPHRASE: 'correct horse' } },
  });
  try {
    await owner.init({
      dialects: ['tuf'],
      destinations: [join(folder, 'web')],
      keys: {},
      expiry: {},
      localKeys: true,
    });
    const additions = Array.from({ length: targets }, (_, index) => {
      const file = { length: 1024 + index, hashes: { sha256: hashOf(`v${index}`) }, custom: undefined };
      return { kind: 'add' as const, role: 'targets', path: `v${index}`, file };
    });
    await owner.stage(...additions);
    const published = await milliseconds(() => owner.publish({ to: [], countersign: false, expiry: {} }));
    const times: number[] = [];
    for (let count = 0; count < 11; count += 1) times.push(await milliseconds(() => owner.targets()));
    const [first = 0, ...again] = times;
    again.sort((a, b) => a - b);
    process.stdout.write(
      `tuf: ${targets} targets published to a folder in ${published.toFixed(0)} ms; listed by their owner in ${first.toFixed(0)} ms, again in ${(again[5] ?? 0).toFixed(1)} ms\n`,
    );
    if ((again[5] ?? 0) > 50) process.exitCode = 1;
  } finally {
    await owner.close();
    await registries.close();
  }
}

/** A registry that gets no requests: the rule needs no evidence from it. */
const nowhere = new Proxy({} as never, { get: (_, name) => (name === 'host' ? 'nowhere' : undefined) });

if (process.argv[2] === 'serve') await serve(process.argv[3] ?? '');
else {
  const folder = await mkdtemp(join(tmpdir(), 'bench-tuf-'));
  try {
    await measure(folder);
    await list(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}
