import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';

const root = join(import.meta.dirname, '../..');
const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: root, encoding: 'utf8' })
  .split('\n')
  .filter((file) => file !== '' && existsSync(join(root, file)));

test('each folder with code has a README.md', () => {
  const folders = new Set(
    files
      .filter(
        (file) =>
          /^(base|trust|entitlements|cni-plugins|runtime|cli|test|bench|packaging)\/.*(?<!\.test)\.ts$/.test(file) &&
          !file.includes('/fixtures/'),
      )
      .map((file) => dirname(file)),
  );
  const rooms = [...folders].map((folder) => folder.split('/')[0] ?? '');
  const silent = [...new Set([...folders, ...rooms])].filter((folder) => !existsSync(join(root, folder, 'README.md')));
  assert.deepEqual(silent, []);
});

test('links between the documents resolve', () => {
  const broken = files
    .filter((file) => file.endsWith('.md'))
    .flatMap((file) =>
      [...readFileSync(join(root, file), 'utf8').matchAll(/\]\((?!https?:|mailto:|#)([^)#\s]+)/g)]
        .map((match) => match[1] ?? '')
        .filter((target) => !existsSync(join(root, dirname(file), target)))
        .map((target) => `${file}: ${target}`),
    );
  assert.deepEqual(broken, []);
});

test('docs/dependencies.md gives the reason for each package', () => {
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Record<
    'dependencies' | 'devDependencies' | 'optionalDependencies',
    Record<string, string>
  >;
  const reasons = readFileSync(join(root, 'docs/dependencies.md'), 'utf8');
  const npm = Object.keys({ ...manifest.dependencies, ...manifest.devDependencies, ...manifest.optionalDependencies });
  const debian = readFileSync(join(root, 'packaging/debian-packages'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split('|')[0] ?? '');
  assert.deepEqual(
    [...npm, ...debian].filter((name) => !reasons.includes(`\`${name}\``)),
    [],
  );
});
