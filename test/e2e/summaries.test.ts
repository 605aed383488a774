import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { uniqueLayer } from '../fixtures/image.ts';
import { daemonFolders } from '../fixtures/daemon.ts';
import { createContainer, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { failureOf, makeKey, openStage, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const portcullis = join(import.meta.dirname, '../../packaging/bin/portcullis');
const verifier = 'https://ci.example.com/gate';

/** The node requires only what the gate has signed. */
const policy = policyOf(`  - images: ["${registryName}/**"]
    require: { vsa: { verifier: "${verifier}", by: { cosign: { key: gate.pub } }, maxAge: 1h } }
    entitlements: { ceiling: privileged }
`);

describe('verification summaries', () => {
  let stage: Stage;
  const folder = mkdtempSync(join(tmpdir(), 'pc-summaries-'));
  before(async () => {
    const { policy: policyFolder } = daemonFolders(folder);
    mkdirSync(policyFolder, { recursive: true });
    await makeKey(join(folder, 'gate.key'), join(policyFolder, 'gate.pub'));
    stage = await openStage({ folder, policy });
    writeFileSync(
      join(folder, 'gate.yaml'),
      policyOf(
        `  - images: ["${registryName}/**"]\n    require: { cosign: { key: ${join(policyFolder, 'k.pub')} } }\n`,
      ),
    );
  });
  after(async () => {
    await stage.close();
    rmSync(folder, { recursive: true });
  });

  const admit = (
    ...references: readonly string[]
  ): Promise<{ readonly code: number; readonly output: string }> =>
    new Promise((resolve) => {
      const args = [
        ...['admit', ...references, '--policy', join(folder, 'gate.yaml'), '--vsa'],
        ...['--key', join(folder, 'gate.key'), '--verifier-id', verifier],
        ...['--registry-mirror', `${registryName}=${stage.registry.url}`],
      ];
      const env = { ...process.env, COSIGN_PASSWORD: '' };
      execFile(portcullis, args, { env }, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr }),
      );
    });

  it('an image with only a summary runs, also offline, and an image without a summary is refused', async () => {
    const gated = await stage.publish('shop/gated:1');
    const other = await stage.publish('shop/other:1', { layers: [await uniqueLayer()] });
    const gate = await admit(gated.reference);
    assert.equal(gate.code, 0, gate.output);
    const id = await stage.pull(gated.reference);
    const pod = await runPod(stage, 'gated');
    await runContainer(stage, pod, { image: id, reference: gated.reference, command: ['sleep', '600'] });

    // It is signed by its builder, and the gate has not seen it.
    const refused = await failureOf(stage.pull(other.reference));
    assert.equal(refused.code, 'IMAGES_DENIED');
    assert.match(
      refused.message,
      /a verification summary of https:\/\/ci\.example\.com\/gate by the key gate\.pub/,
    );
    assert.match(refused.message, /no attestation was found for this image/);

    // The registry is gone: the next container is decided from the recorded evidence.
    await stage.registry.close();
    await createContainer(stage, pod, { name: 'offline', image: id, reference: gated.reference });
    await removePod(stage, pod);
  });
});
