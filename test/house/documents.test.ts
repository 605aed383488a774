import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { test } from 'node:test';
import { documents } from '../../site/navigation.ts';

const root = join(import.meta.dirname, '../..');
const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => file !== '' && existsSync(join(root, file)));

test('each folder with code has a README.md', () => {
  const folders = new Set(
    files
      .filter(
        (file) =>
          /^(base|trust|entitlements|cni-plugins|fleet|admission|runtime|node|cli|test|bench|packaging|site)\/.*(?<!\.test)\.ts$/.test(
            file,
          ) && !file.includes('/fixtures/'),
      )
      .map((file) => dirname(file)),
  );
  const modules = [...folders].map((folder) => folder.split('/')[0] ?? '');
  const silent = [...new Set([...folders, ...modules])].filter(
    (folder) => !existsSync(join(root, folder, 'README.md')),
  );
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

test('a link whose label is the name of a file leads to a file of that name', () => {
  const wrong = files
    .filter((file) => file.endsWith('.md'))
    .flatMap((file) =>
      [
        ...readFileSync(join(root, file), 'utf8').matchAll(
          /\[`?([\w.-]+\.(?:ts|json|sh))`?\]\((?!https?:)([^)#\s]+)/g,
        ),
      ]
        .filter(([, label = '', target = '']) => basename(target) !== label)
        .map(([, label = '', target = '']) => `${file}: ${label} leads to ${target}`),
    );
  assert.deepEqual(wrong, []);
});

test('docs/architecture.md has the picture, and follows five operations with a file for each step', () => {
  const text = readFileSync(join(root, 'docs/architecture.md'), 'utf8');
  assert.match(text, /^```mermaid$/m);
  const walks = [...text.matchAll(/^## (.+), file by file$([^]*?)(?=^## )/gm)].map(
    ({ 1: title = '', 2: body = '' }) => ({ title, body }),
  );
  for (const title of ['PullImage', 'CreateContainer', 'RunPodSandbox', 'CNI ADD', 'A service change']) {
    const steps =
      walks
        .find((walk) => walk.title === title)
        ?.body.split(/^(?=\d+\. )/m)
        .slice(1) ?? [];
    assert.ok(steps.length >= 5, `${title} has ${steps.length} steps`);
    const silent = steps
      .filter((step) => !/\]\(\.\.\/[^)]+\.ts\)/.test(step))
      .map((step) => step.split('\n')[0]);
    assert.deepEqual(silent, [], `${title}: each step names the file that does it`);
  }
});

test('the site has a place for each document', () => {
  const pages = files.filter((file) => /^docs\/[^/]+\.md$|^docs\/tutorials\//.test(file));
  assert.deepEqual(
    pages.filter((file) => !documents.includes(file)),
    [],
  );
});

test('README.md links to each document', () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  const pages = files.filter((file) => /^docs\/[^/]+\.md$|^docs\/tutorials\//.test(file));
  assert.deepEqual(
    pages.filter((page) => !readme.includes(`(${page})`)),
    // docs/performance.md links to it.
    ['docs/performance-history.md'],
  );
});

test('docs/dependencies.md gives the reason for each package', () => {
  const read = (file: string) =>
    JSON.parse(readFileSync(join(root, file), 'utf8')) as Record<
      'dependencies' | 'devDependencies' | 'optionalDependencies',
      Record<string, string>
    >;
  const manifest = read('package.json');
  const reasons = readFileSync(join(root, 'docs/dependencies.md'), 'utf8');
  const npm = Object.keys({
    ...manifest.dependencies,
    ...manifest.devDependencies,
    ...manifest.optionalDependencies,
    ...read('site/vitepress/package.json').devDependencies,
  });
  const debian = readFileSync(join(root, 'packaging/debian-packages'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split('|')[0] ?? '');
  assert.deepEqual(
    [...npm, ...debian].filter((name) => !reasons.includes(`\`${name}\``)),
    [],
  );
});
