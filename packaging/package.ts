/**
 * `npm run package`: builds, and packs dist/portcullis-VERSION.tgz, which installs with koffi and the pinned
 * Node as its only dependencies.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bundle, declarations } from './build.ts';

const root = join(import.meta.dirname, '..');
const shipped = [
  ...['packaging/bin', 'packaging/prepare', 'packaging/debian-packages', 'packaging/policies', 'packaging/systemd'],
  ...['docs', 'README.md', 'SECURITY.md', 'LICENSE'],
];

/** Returns the manifest of the published package: bundled packages are no longer dependencies. */
function publishedManifest(): string {
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Record<string, unknown> & {
    dependencies: Record<string, string>;
  };
  const { scripts: _scripts, devDependencies: _devDependencies, private: _private, engines: _engines, ...kept } = manifest;
  return `${JSON.stringify({ ...kept, dependencies: { koffi: manifest.dependencies['koffi'] } }, null, 2)}\n`;
}

/** Lays out the package in `folder` as it is installed, without its dependencies. */
export async function layOut(folder: string, options: { readonly types: boolean }): Promise<void> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  await bundle(join(folder, 'dist'));
  if (options.types) declarations(join(folder, 'dist'));
  for (const path of shipped)
    cpSync(join(root, path), join(folder, path), { recursive: true, filter: (file) => !file.endsWith('.test.ts') });
  writeFileSync(join(folder, 'package.json'), publishedManifest());
}

if (import.meta.main) {
  const folder = join(root, 'dist/package');
  await layOut(folder, { types: true });
  const pack = spawnSync('npm', ['pack', '--silent', '--pack-destination', join(root, 'dist')], {
    cwd: folder,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (pack.status !== 0) throw new Error('npm pack failed; see what it says above');
  rmSync(folder, { recursive: true });
  process.stdout.write(`dist/${pack.stdout.trim()} packed\n`);
}
