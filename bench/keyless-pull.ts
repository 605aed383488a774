/**
 * `npm run bench:keyless-pull`: measures what a keyless requirement adds to a pull. One image of 50 MB is in
 * a registry on loopback under two names: one whose rule requires a keyless signature and one whose rule
 * allows unverified images. They are pulled in turns, and removed in between.
 */
import './bundle.ts';
import '../test/fixtures/private-namespaces.ts';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openSigner, signImage } from '../trust/index.ts';
import { mockIssuer, mockSubject, startMockSigstore } from '../trust/sigstore/fixtures/mock-sigstore.ts';
import { buildImage, layerOf, pushImage } from '../test/fixtures/image.ts';
import { openStage, policyOf, registryName } from '../test/fixtures/stage.ts';

const rounds = 20;
const megabytes = 50;
const services = await startMockSigstore();
const stage = await openStage();
try {
  const { folder, policy } = stage.folders;
  mkdirSync(join(policy, 'roots'));
  writeFileSync(join(policy, 'roots/root.json'), JSON.stringify(services.trustedRoot()));
  const identity = `{ issuer: "${mockIssuer}", subject: "${mockSubject}", root: roots/root.json }`;
  stage.writePolicy(
    policyOf(
      `  - images: ["${registryName}/keyless/**"]\n    require: { sigstore: ${identity} }\n  - images: ["${registryName}/open/**"]\n    allow: unverified\n`,
    ),
  );
  await stage.daemon.reload();

  const layers = await Promise.all(
    Array.from({ length: 5 }, (_, index) =>
      layerOf([{ name: `file-${index}`, body: randomBytes((megabytes / 5) * 1_000_000) }]),
    ),
  );
  const image = await buildImage({ base: false, layers });
  for (const name of ['keyless/app', 'open/app']) await pushImage(stage.repository(name), image, '1');
  const now = new Date();
  writeFileSync(join(folder, 'token'), `${services.token({ rekor: 1 })}c2ln`);
  writeFileSync(join(folder, 'signing.json'), JSON.stringify(services.signingConfig({ rekor: 1 })));
  const key = await openSigner({
    passphrase: { environment: {} },
    identityToken: { file: join(folder, 'token') },
    signingConfig: join(folder, 'signing.json'),
    now,
  });
  await signImage({
    repository: stage.repository('keyless/app'),
    digest: image.manifestDigest,
    key,
    format: 'bundle',
    now,
  });
  await key.close();

  const pull = async (name: string): Promise<number> => {
    const started = performance.now();
    const id = await stage.pull(`${registryName}/${name}:1`);
    const took = performance.now() - started;
    await stage.daemon.cri.image.removeImage({ image: { image: id } });
    return took;
  };
  await pull('open/app');
  const first = await pull('keyless/app');
  const [open, keyless]: [number[], number[]] = [[], []];
  const processor = { open: 0, keyless: 0 };
  const timed = async (kind: 'open' | 'keyless', into: number[]): Promise<void> => {
    const before = processorMs(stage.daemon.pid);
    into.push(await pull(`${kind}/app`));
    processor[kind] += processorMs(stage.daemon.pid) - before;
  };
  for (let round = 0; round < rounds; round += 1) {
    const turns = [() => timed('open', open), () => timed('keyless', keyless)];
    // The order alternates, so that it has no effect over all rounds which one is first.
    for (const turn of round % 2 === 0 ? turns : turns.reverse()) await turn();
  }
  const differences = keyless.map((one, index) => one - (open[index] ?? 0));
  console.log(`pull of ${megabytes} MB, unverified       ${median(open).toFixed(1)} ms`);
  console.log(
    `the same, keyless signature      ${median(keyless).toFixed(1)} ms (the first one of a daemon: ${first.toFixed(1)} ms)`,
  );
  const more = (processor.keyless - processor.open) / rounds;
  console.log(
    `processor time of the daemon      ${(processor.open / rounds).toFixed(0)} and ${(processor.keyless / rounds).toFixed(0)} ms a pull and removal: ${more.toFixed(1)} ms more`,
  );
  console.log(
    `bench:keyless-pull: a keyless requirement adds ${median(differences).toFixed(1)} ms (median of ${rounds} pairs)`,
  );
} finally {
  await stage.close();
  await services.close();
}

/** Returns the processor time of all threads of a process; its clock ticks a hundred times a second. */
function processorMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}
