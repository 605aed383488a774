/** Runs in namespaces of its own (see run.ts): signed images, daemon, critest with the arguments given. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { peers, prepareNamespaces, serveSignedImages, startDaemon } from '../test/conformance/endpoint.ts';
import { createCriClient } from '../runtime/index.ts';

prepareNamespaces();
const folder = mkdtempSync(join(tmpdir(), 'pc-bench-'));
const images = await serveSignedImages(folder);
const daemon = await startDaemon(folder, images.policyFile);
const endpoint = `unix://${daemon.socket}`;
const critest = spawn(join(peers, 'bin/critest'), ['-runtime-endpoint', endpoint, '-image-endpoint', endpoint, ...process.argv.slice(2)], {
  stdio: 'inherit',
  env: { ...process.env, PATH: `${join(peers, 'bin')}:${process.env['PATH'] ?? ''}` },
});
const [code] = (await once(critest, 'exit')) as [number | null];
const client = createCriClient(daemon.socket);
// Verification was on: each image that is present shows the decision that let it in. Lines with :: are passed on by run.ts.
for (const { id, repoTags } of (await client.image.listImages({})).images) {
  const { info } = await client.image.imageStatus({ image: { image: id }, verbose: true });
  const { verdictId } = JSON.parse(info['info'] ?? '{}') as { verdictId?: string };
  console.log(`::  ${repoTags[0] ?? id}: admitted by verdict ${verdictId ?? 'NONE'}`);
}
client.close();
await daemon.stop();
await images.stop();
rmSync(folder, { recursive: true, force: true });
process.exit(code ?? 1);
