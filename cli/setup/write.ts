import { constants } from 'node:fs';
import { access, readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { PortcullisError, fileReason } from '../../base/errors/index.ts';
import { createFileAtomic, makeFolder } from '../../base/storage/index.ts';
import { ensureKeyPair } from '../../trust/index.ts';
import type { PassphraseSource } from '../../trust/index.ts';
import type { Plan, SetupFile } from './plan.ts';

/**
 * Creates the new files of a plan in their order. Each file is created completely or not at all, and none is
 * replaced, so a run that failed can be repeated. The key pair comes first, because it can need a passphrase.
 * @returns the files with their new states
 * @throws PortcullisError CLI_SETUP_NO_ACCESS before anything is written; STORAGE_…, TRUST_…
 */
export async function writePlan(plan: Plan, passphrase: PassphraseSource): Promise<readonly SetupFile[]> {
  const { files, key } = plan;
  const made = files.filter(({ state }) => state === 'new');
  const keyFiles = keyFilesOf(key);
  await requireWritablePlan(plan);
  const pair = key === undefined ? undefined : { ...key, ...(await ensureKeyPair(key.prefix, passphrase)) };
  for (const file of made) {
    if (keyFiles.includes(file.path)) continue;
    const content = file.path === pair?.policyKey ? await readFile(pair.publicFile) : (file.content ?? '');
    await makeFolder(dirname(file.path), 0o755);
    if (!(await createFileAtomic(file.path, content, { mode: parseInt(file.mode, 8) })))
      throw createdMeanwhile(file.path);
  }
  return files.map((file) => (file.state === 'new' ? { ...file, state: 'written' } : file));
}

const keyFilesOf = (key: Plan['key']): string[] =>
  key === undefined ? [] : [`${key.prefix}.key`, `${key.prefix}.pub`];

/** @throws PortcullisError CLI_SETUP_NO_ACCESS for a new file that this user cannot create */
export async function requireWritablePlan({ files, key }: Plan): Promise<void> {
  const keyFiles = keyFilesOf(key);
  for (const { path, state } of files)
    if (state === 'new') await requireWritable(path, keyFiles.includes(path));
}

/** @param only the folder itself must exist: a mistyped path of a key must not create folders */
async function requireWritable(path: string, only: boolean): Promise<void> {
  let folder = dirname(path);
  for (;;) {
    try {
      if (!(await stat(folder)).isDirectory()) throw new Error('it is not a folder');
      await access(folder, constants.W_OK | constants.X_OK);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT' && !only && dirname(folder) !== folder)
        folder = dirname(folder);
      else throw noAccess(path, folder, error);
    }
  }
}

function noAccess(path: string, folder: string, cause: unknown): PortcullisError {
  const { code } = cause as NodeJS.ErrnoException;
  const isForRoot = process.getuid?.() !== 0 && (code === 'EACCES' || code === 'EPERM');
  return new PortcullisError({
    code: 'CLI_SETUP_NO_ACCESS',
    kind: 'precondition',
    attempted: 'create the file',
    on: path,
    why: `its folder ${folder} cannot be written: ${fileReason(cause, folder)}`,
    fix: `${isForRoot ? 'run the command as root' : `make ${folder} a folder that can be written`}; nothing was written`,
    cause,
  });
}

function createdMeanwhile(path: string): PortcullisError {
  return new PortcullisError({
    code: 'CLI_SETUP_INTERRUPTED',
    kind: 'precondition',
    attempted: 'create the file',
    on: path,
    why: 'another program created it at the same time',
    fix: 'look at the file, and run the command again: it completes what is missing',
  });
}
