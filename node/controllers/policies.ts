import { randomBytes } from 'node:crypto';
import { lstat, readdir, readlink, rename, rm, symlink } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { errnoIs, failure, reasonOf, tolerate } from '../../base/errors/index.ts';
import { readPlainFile } from '../../base/files/index.ts';
import { makeFolder, makeTemporaryFolder, writeFileAtomic } from '../../base/storage/index.ts';
import { fingerprintOf } from '../model/fingerprint.ts';
import type { Change, Controller, Item, Limits, NodeState, Observed, PolicyFile } from '../model/types.ts';
import { askDaemonAdmin } from './node-access.ts';
import type { DaemonAccess } from './node-access.ts';

/** The daemon's own loader: throws if a policy, a profile or a key is wrong. */
export type LoadPolicy = (paths: readonly string[]) => Promise<{ readonly policy: { revision: string } }>;

/** Maximum size of all files of a folder together. */
const mostBytes = 1024 * 1024;
const itemName = 'policy';
const fileName = {
  type: 'string',
  pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$',
  description: 'Name of the file in the folder.',
};

/**
 * The policy of the daemon: all files together are one item. Each revision is a separate folder, and the
 * policy folder is a symbolic link to it, so the daemon never reads an incomplete revision.
 * @param folder the link, which the daemon has as its policy path
 */
export function policyController(access: DaemonAccess, folder: string, load: LoadPolicy): Controller {
  const revisions = `${folder}.revisions`;
  /** Loading a policy reads all its keys. Each revision has a separate folder, so it is loaded once. */
  let loaded: { readonly target: string; readonly revision: string } | undefined;
  return {
    section: 'policies',
    after: [],
    foreign: 'exclusive',
    backsOff: false,
    schema: {
      type: 'array',
      description:
        'The files of the policy folder of the daemon: policies, profiles, and the keys that policies name. Together they are checked by the loader of the daemon, and put in force at once. While they are invalid, the former revision stays.',
      maxItems: 500,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['name'],
        properties: {
          name: fileName,
          content: { type: 'string', maxLength: mostBytes, description: 'Its text.' },
          from: {
            type: 'string',
            minLength: 1,
            maxLength: 4096,
            description:
              'In place of `content`: a file with the text, in the folder of this document or below it, relative to this folder. It is read once, when the state is applied.',
          },
        },
      },
    },
    items({ policies }: NodeState) {
      if (policies.length === 0) return new Map<string, Item>();
      const fingerprint = fingerprintOfFiles(policies);
      const shown = `${policies.map(({ name }) => name).join(' ')} [${fingerprint.slice(0, 8)}]`;
      return new Map([[itemName, { fingerprint, visible: fingerprint, shown }]]);
    },
    async check({ policies }) {
      if (policies.length === 0) return;
      const draft = await makeTemporaryFolder('portcullis-node-policy-');
      try {
        await write(draft, policies);
        await loadChecked(load, draft);
      } finally {
        await rm(draft, { recursive: true, force: true });
      }
    },
    observe: () => observe(folder, revisions),
    async apply({ action }: Change, { policies }, limits) {
      // A folder at the path of the link is never replaced or removed, because somebody else made it.
      const isFolder = (await tolerate(errnoIs('ENOENT'), () => lstat(folder)))?.isDirectory() === true;
      if (action === 'delete') {
        if (!isFolder) await rm(folder, { force: true });
        await rm(revisions, { recursive: true, force: true });
        return;
      }
      if (isFolder) throw inTheWay(folder);
      await makeFolder(revisions, 0o755);
      await makeFolder(dirname(folder), 0o755);
      const made = join(revisions, `${fingerprintOfFiles(policies)}-${randomBytes(4).toString('hex')}`);
      const link = `${folder}.${randomBytes(6).toString('hex')}.tmp`;
      try {
        await makeFolder(made, 0o755);
        await write(made, policies);
        await loadChecked(load, made);
        await symlink(made, link);
        await rename(link, folder);
      } catch (thrown) {
        await rm(link, { force: true });
        await rm(made, { recursive: true, force: true });
        throw thrown;
      }
      // An earlier attempt that was killed may have left it.
      const name = `${basename(folder)}.`;
      for (const other of await readdir(dirname(folder)))
        if (other.startsWith(name) && /^[0-9a-f]{12}\.tmp$/u.test(other.slice(name.length)))
          await rm(join(dirname(folder), other), { force: true });
      for (const other of await readdir(revisions))
        if (other !== basename(made)) await rm(join(revisions, other), { recursive: true, force: true });
      loaded = { target: made, revision: (await load([folder])).policy.revision };
      await untilInForce(access, loaded.revision, limits);
    },
    async health() {
      const status = await askDaemonAdmin(access, 'policy/status', {});
      if (status.problem !== undefined) return [`the daemon has not loaded its policy: ${status.problem}`];
      const target = await readlink(folder);
      if (loaded?.target !== target) loaded = { target, revision: (await load([folder])).policy.revision };
      return status.revision === loaded.revision
        ? []
        : [
            `the daemon has the policy revision ${status.revision ?? 'none'} in force instead of ${loaded.revision}: its only policy path must be ${folder}`,
          ];
    },
  };
}

const inTheWay = (folder: string) =>
  failure(
    'NODE_STATE_CHANGE_REFUSED',
    'precondition',
    'replace the policy',
    folder,
    'it is a folder, which `portcullis node apply` did not make',
    'move it away, or remove `policies` from the state',
  );

/** The daemon reads a change within a second. Files that are slow to read take ten seconds at most. */
const inForceMs = 15_000;
const askAgainMs = 100;

/**
 * Waits until the daemon decides by a revision: the images and pods of the same state come next, and the
 * former policy must not admit them. A daemon that does not get it in time, such as one with another policy
 * path, is a problem of the section, which `health` reports. A daemon that does not run starts with it.
 */
async function untilInForce(access: DaemonAccess, revision: string, { signal }: Limits): Promise<void> {
  const end = performance.now() + inForceMs;
  while (performance.now() < end && !signal.aborted) {
    const now = await askDaemonAdmin(access, 'policy/status', {}).catch(() => undefined);
    if (now === undefined || now.revision === revision) return;
    await pause(askAgainMs, undefined, { signal });
  }
}

const fingerprintOfFiles = (files: readonly PolicyFile[]): string =>
  fingerprintOf(Object.fromEntries(files.map(({ name, content }) => [name, content])));

async function write(folder: string, files: readonly PolicyFile[]): Promise<void> {
  for (const { name, content } of files) await writeFileAtomic(join(folder, name), content, { mode: 0o644 });
}

async function loadChecked(load: LoadPolicy, folder: string): Promise<void> {
  try {
    await load([folder]);
  } catch (thrown) {
    // The folder is a draft, which the reader never sees.
    throw failure(
      'NODE_STATE_POLICY_INVALID',
      'invalid',
      'check the policies of the state',
      '',
      reasonOf(thrown).replaceAll(`${folder}/`, '').replaceAll(folder, 'the policies'),
      'correct `policies`; the former revision stays in force',
    );
  }
}

/** Anything other than our link and the files of a revision is described, and equals no revision. */
async function observe(folder: string, revisions: string): Promise<ReadonlyMap<string, Observed>> {
  const of = (visible: string, shown: string): ReadonlyMap<string, Observed> =>
    new Map([[itemName, { visible, shown }]]);
  try {
    if (!(await lstat(folder)).isSymbolicLink()) return of('', `${folder}, which is not a link of ours`);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return new Map();
    throw thrown;
  }
  const target = resolve(dirname(folder), await readlink(folder));
  if (dirname(target) !== resolve(revisions)) return of('', `a link to ${target}`);
  const files: PolicyFile[] = [];
  try {
    for (const name of await readdir(target))
      files.push({ name, content: (await readPlainFile(join(target, name), mostBytes)).toString() });
  } catch (thrown) {
    return of('', `a revision that cannot be read: ${reasonOf(thrown)}`);
  }
  const fingerprint = fingerprintOfFiles(files);
  const names = files.map(({ name }) => name).toSorted();
  return of(fingerprint, `${names.join(' ')} [${fingerprint.slice(0, 8)}]`);
}
