/**
 * `npm run test:tuf-conformance [-- PYTEST ARGS]`: runs the public TUF client conformance suite against
 * `portcullis tuf-client`, in about ten minutes.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundle } from '../../packaging/build.ts';
import { peers, repository } from './endpoint.ts';

/** theupdateframework/tuf-conformance; TUF_CONFORMANCE names an existing copy. */
const source = 'https://github.com/theupdateframework/tuf-conformance';
const commit = 'eec841c186f81f2d9d8d30460c7e7deefa615f9e';
const suite = process.env['TUF_CONFORMANCE'] ?? join(peers, 'tuf-conformance');

function run(command: string, args: readonly string[]): void {
  const { status, error } = spawnSync(command, args, { stdio: 'inherit' });
  if (status !== 0)
    throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? `exit status ${String(status)}`}`);
}

function prepare(): string {
  for (const tool of ['python3', 'faketime', 'git'])
    if (spawnSync(tool, ['--version'], { stdio: 'ignore' }).error !== undefined)
      throw new Error(`${tool} is missing; install it`);
  if (!existsSync(suite)) {
    // A fetch that fails must leave nothing that looks like the suite.
    const partial = `${suite}.partial`;
    run('git', ['init', '-q', partial]);
    run('git', ['-C', partial, 'fetch', '-q', '--depth', '1', source, commit]);
    run('git', ['-C', partial, 'checkout', '-q', commit]);
    renameSync(partial, suite);
  }
  const pytest = ['v', 'venv']
    .map((name) => join(suite, name, 'bin/pytest'))
    .find((path) => existsSync(path));
  if (pytest !== undefined) return pytest;
  run('python3', ['-m', 'venv', join(suite, 'venv')]);
  run(join(suite, 'venv/bin/pip'), ['install', '-q', '-e', suite]);
  return join(suite, 'venv/bin/pytest');
}

// Inside the package: one dependency is not in the bundle.
const client = join(repository, 'node_modules/.cache/tuf-conformance');
const folder = mkdtempSync(join(tmpdir(), 'tuf-conformance-'));
try {
  const pytest = prepare();
  await bundle(client);
  const entrypoint = join(folder, 'client');
  writeFileSync(
    entrypoint,
    `#!/bin/sh\nexec '${process.execPath}' '${join(client, 'portcullis.js')}' tuf-client "$@"\n`,
  );
  chmodSync(entrypoint, 0o755);
  const { status } = spawnSync(
    pytest,
    ['-q', join(suite, 'tuf_conformance'), '--entrypoint', entrypoint, ...process.argv.slice(2)],
    {
      cwd: folder,
      stdio: 'inherit',
    },
  );
  process.exitCode = status ?? 1;
} catch (error) {
  console.error(`tuf-conformance: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 4;
} finally {
  for (const made of [folder, client]) rmSync(made, { recursive: true, force: true });
}
