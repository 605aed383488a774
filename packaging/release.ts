/**
 * `npm run release`: builds the packages of a release into dist/release, with SBOMs, provenance and
 * checksums. The same commit gives the same bytes on every machine. `--gpg-key` also writes an apt
 * repository, `--images` builds the container images, the Helm chart and the kustomize bases for a registry,
 * and `--push` pushes the files to a registry, where `portcullis sign` and `attest` sign them
 * (docs/releasing.md).
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import manifest from '../package.json' with { type: 'json' };
import { aptRepository } from './deb/apt-repository.ts';
import { signRelease } from './deb/sign-release.ts';
import { vsixOf } from './editors/vscode/vsix.ts';
import { buildImages } from './oci/images.ts';
import { buildArtifacts, releaseTime } from './release/artifacts.ts';
import { clusterFiles } from './release/cluster-files.ts';
import { provenance } from './release/provenance.ts';
import { publishFiles } from './release/publish.ts';

const { values } = parseArgs({
  options: {
    source: { type: 'string', default: 'https://portcullis.dev/source' },
    builder: { type: 'string', default: 'https://portcullis.dev/release/builder' },
    'gpg-key': { type: 'string' },
    images: { type: 'string' },
    push: { type: 'string' },
  },
});
const folder = join(import.meta.dirname, '../dist/release');
const say = (text: string): void => void process.stdout.write(`${text}\n`);

rmSync(folder, { recursive: true, force: true });
const names = [...(await buildArtifacts(folder, { types: true })), 'provenance.json'];
const vsix = `portcullis-${manifest.version}.vsix`;
writeFileSync(join(folder, vsix), await vsixOf(releaseTime()));
names.push(vsix);
const { commit, statement } = provenance({ source: values.source, builder: values.builder });
writeFileSync(join(folder, 'provenance.json'), `${JSON.stringify(statement, null, 2)}\n`);
if (values.images !== undefined) {
  const time = releaseTime();
  const digests = await buildImages(folder, { time, revision: commit, source: values.source });
  for (const [name, digest] of Object.entries(digests)) {
    say(`${values.images}/${name}@${digest}`);
    names.push(`${name}.spdx.json`, `${name}.cdx.json`);
  }
  names.push('images.json');
  for (const { name, bytes } of await clusterFiles(values.images, digests, time)) {
    writeFileSync(join(folder, name), bytes);
    names.push(name);
  }
}
const sums = names.map((name) => {
  const digest = createHash('sha256')
    .update(readFileSync(join(folder, name)))
    .digest('hex');
  return `${digest}  ${name}\n`;
});
writeFileSync(join(folder, 'SHA256SUMS'), sums.join(''));
names.push('SHA256SUMS');
for (const name of names) say(`dist/release/${name}`);

if (values['gpg-key'] !== undefined) {
  const debs = names
    .filter((name) => name.endsWith('.deb'))
    .map((name) => ({ name, bytes: readFileSync(join(folder, name)) }));
  const files = await aptRepository(debs, releaseTime());
  for (const { path, content } of [...files, ...signRelease(files, values['gpg-key'])]) {
    mkdirSync(dirname(join(folder, 'apt', path)), { recursive: true });
    if ('bytes' in content) writeFileSync(join(folder, 'apt', path), content.bytes);
  }
  say('dist/release/apt');
}
if (values.push !== undefined) {
  const digest = await publishFiles(
    values.push,
    names.map((name) => join(folder, name)),
  );
  say(`pushed ${values.push} ${digest}`);
}
