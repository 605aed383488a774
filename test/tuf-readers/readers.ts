import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Updater } from 'tuf-js';
import { peers } from '../conformance/endpoint.ts';

const run = promisify(execFile);
const here = import.meta.dirname;

/** A third-party TUF client. Its folder holds the first root and its local cache. */
export interface Reader {
  readonly name: string;
  /** Refreshes, then looks up targets. @returns their sha256, or `none` */
  read(folder: string, url: string, names: readonly string[]): Promise<readonly string[]>;
}

function must(command: string, words: readonly string[], options: object = {}): void {
  const { status, error } = spawnSync(command, words, {
    stdio: ['ignore', 'inherit', 'inherit'],
    ...options,
  });
  if (status !== 0)
    throw new Error(`${command} ${words.join(' ')}: ${error?.message ?? `exit status ${String(status)}`}`);
}

const tufJs: Reader = {
  name: 'tuf-js 6',
  async read(folder, url, names) {
    const updater = new Updater({ metadataDir: folder, metadataBaseUrl: url });
    await updater.refresh();
    const found: string[] = [];
    for (const name of names) found.push((await updater.getTargetInfo(name))?.hashes['sha256'] ?? 'none');
    return found;
  },
};

function program(name: string, command: string, words: readonly string[]): Reader {
  return {
    name,
    async read(folder, url, names) {
      const { stdout } = await run(command, [...words, folder, url, ...names], { timeout: 300_000 });
      return JSON.parse(stdout) as string[];
    },
  };
}

function pythonTuf(): Reader {
  const home = join(peers, 'python-tuf-7.0.0');
  const python = join(home, 'bin/python');
  if (!existsSync(join(home, 'ready'))) {
    must('python3', ['-m', 'venv', home]);
    must(join(home, 'bin/pip'), ['install', '-q', 'tuf==7.0.0', 'securesystemslib[crypto]==1.6.0']);
    writeFileSync(join(home, 'ready'), '');
  }
  return program('python-tuf 7', python, [join(here, 'python-tuf.py')]);
}

function goTuf(): Reader {
  const built = join(peers, 'bin/go-tuf-2.4.2');
  if (!existsSync(built)) {
    mkdirSync(join(peers, 'bin'), { recursive: true });
    const env = { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-mod=readonly' };
    must('go', ['build', '-trimpath', '-o', built, '.'], { cwd: join(here, 'go-tuf'), env });
  }
  return program('go-tuf 2', built, []);
}

/** @throws Error when python-tuf or go-tuf cannot be installed */
export const openReaders = (): readonly Reader[] => [tufJs, pythonTuf(), goTuf()];
