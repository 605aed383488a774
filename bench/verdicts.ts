/**
 * `npm run bench:verdicts`: measures the cost of verdicts on one core. Keyless signatures of services on
 * loopback: the first verification of a process (each sample is a separate process), the next one with
 * another signature, a verdict from evidence that was verified before, and a verdict from the cache. For
 * comparison, if installed, `cosign verify` with a key: the cost of an exec'd verifier per call.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDecisions } from '../runtime/images/decisions.ts';
import { canonicalJson, sealDossier } from '../trust/evidence/index.ts';
import { loadPolicy } from '../trust/index.ts';
import type { Dossier, EvidenceItem } from '../trust/index.ts';
import { mockIssuer, mockSubject, startMockSigstore } from '../trust/sigstore/fixtures/mock-sigstore.ts';

const platform = { os: 'linux', architecture: 'amd64' };
const cosign = '/var/cache/portcullis-peers/bin/cosign';
const folder = process.env['VERDICTS_FOLDER'];
if (folder === undefined) await main();
else await sample(folder);

async function main(): Promise<void> {
  const place = mkdtempSync(join(tmpdir(), 'pc-verdicts-'));
  const mock = await startMockSigstore();
  try {
    writeFileSync(join(place, 'root.json'), JSON.stringify(mock.trustedRoot()));
    const rule = `  - images: ["registry.example.com/**"]\n    require: { sigstore: { issuer: "${mockIssuer}", subject: "${mockSubject}", root: root.json } }\n`;
    writeFileSync(
      join(place, 'policy.yaml'),
      `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n${rule}`,
    );
    const dossiers: Dossier[] = [];
    for (let index = 0; index < 12; index += 1) dossiers.push(await dossierOf(mock, index));
    writeFileSync(join(place, 'dossiers.json'), JSON.stringify(dossiers));
    const samples = Array.from({ length: 7 }, () => {
      const ran = spawnSync(process.execPath, [import.meta.filename], {
        env: { ...process.env, VERDICTS_FOLDER: place },
        encoding: 'utf8',
      });
      if (ran.status !== 0) throw new Error(ran.stderr);
      return JSON.parse(ran.stdout) as Figures;
    });
    const of = (key: keyof Figures): number => median(samples.map((one) => one[key]));
    console.log(`first keyless verification of a process   ${of('first').toFixed(1)} ms`);
    console.log(`another keyless signature                 ${of('other').toFixed(2)} ms`);
    console.log(`verified before, another namespace        ${of('verified').toFixed(3)} ms`);
    console.log(
      `from the cache                            ${Math.round(of('cached')).toLocaleString('en')} verdicts a second on one core`,
    );
    const peer = cosignMs();
    console.log(
      peer === undefined
        ? 'cosign is not installed (test/peers/get cosign)'
        : `cosign version, the start of an exec'd verifier alone   ${peer.toFixed(0)} ms`,
    );
    console.log(
      `bench:verdicts: ${Math.round(of('cached'))} cached verdicts/s, first ${of('first').toFixed(1)} ms`,
    );
  } finally {
    await mock.close();
    rmSync(place, { recursive: true });
  }
}

interface Figures {
  readonly first: number;
  readonly other: number;
  readonly verified: number;
  /** Number per second. */
  readonly cached: number;
}

async function sample(place: string): Promise<void> {
  const { policy } = await loadPolicy({ paths: [join(place, 'policy.yaml')] });
  const dossiers = JSON.parse(readFileSync(join(place, 'dossiers.json'), 'utf8')) as Dossier[];
  const decisions = createDecisions({
    root: '/var/lib/portcullis',
    policy: () => policy,
    now: () => new Date(),
    database: { get: () => Promise.resolve(undefined) },
  });
  const ask = (dossier: Dossier, namespace: string): void => {
    const { verdict } = decisions.again(policy, {
      dossier,
      reference: dossier.reference,
      namespace,
      platform,
    });
    if (verdict.outcome !== 'admit') throw new Error(canonicalJson(verdict.reasons));
    decisions.logged(verdict);
  };
  const [first, ...others] = dossiers;
  if (first === undefined) throw new Error('no dossier');
  const figures: Figures = {
    first: timed(() => ask(first, 'a')),
    other: median(others.map((dossier) => timed(() => ask(dossier, 'a')))),
    verified: median(Array.from({ length: 200 }, (_, index) => timed(() => ask(first, `team-${index}`)))),
    cached:
      20_000 /
      (timed(() => {
        for (let index = 0; index < 20_000; index += 1) ask(first, `team-${index % 200}`);
      }) /
        1000),
  };
  process.stdout.write(JSON.stringify(figures));
}

async function dossierOf(
  mock: Awaited<ReturnType<typeof startMockSigstore>>,
  index: number,
): Promise<Dossier> {
  const hex = String(index).padStart(64, '0');
  const statement = {
    _type: 'https://in-toto.io/Statement/v1',
    subject: [{ digest: { sha256: hex } }],
    predicateType: 'https://sigstore.dev/cosign/sign/v1',
    predicate: {},
  };
  const bundle = await mock.sign(Buffer.from(JSON.stringify(statement)), { rekor: 1, inToto: true });
  const bytes = Buffer.from(JSON.stringify(bundle));
  const digest = `sha256:${hex}`;
  const item: EvidenceItem = {
    kind: 'sigstore-bundle',
    attachedTo: digest,
    foundBy: 'referrers',
    servedBy: 'registry.example.com',
    manifestDigest: digest,
    blobDigest: `sha256:${(await import('node:crypto')).createHash('sha256').update(bytes).digest('hex')}`,
    mediaType: 'application/vnd.dev.sigstore.bundle.v0.3+json',
    annotations: {},
    bytes: bytes.toString('base64'),
  };
  return sealDossier({
    reference: `registry.example.com/app-${index}:1`,
    digest,
    manifestDigest: digest,
    items: [item],
    unreachable: [],
    gatheredAt: new Date().toISOString(),
  });
}

function timed(act: () => void): number {
  const started = performance.now();
  act();
  return performance.now() - started;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}

function cosignMs(): number | undefined {
  if (!existsSync(cosign)) return undefined;
  return median(
    Array.from({ length: 5 }, () => timed(() => execFileSync(cosign, ['version'], { stdio: 'ignore' }))),
  );
}
