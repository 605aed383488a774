import type { Dialect } from '../tuf-metadata/model.ts';
import type { OnlineRole } from './destination.ts';
import { authorFailure } from './failure.ts';
import type { OwnedCollection } from './owned-collection.ts';
import type { Owner } from './owner.types.ts';
import { inDialect, keysOf, newKeyOf } from './role-keys.ts';
import { stagedCollection } from './session.ts';
import type { StagedChange } from './staged.ts';
import type { Settings } from './working-folder.ts';

/**
 * Returns the dialects in which the owner can sign timestamps. In the Notary dialect only a service signs
 * them, and whoever signs the snapshots signs their timestamps too.
 * @throws TRUST_AUTHOR_NOT_IN_DIALECT when the owner can sign them in no dialect
 */
function withOwnTimestamps({ name, dialects, serverManaged }: Settings): readonly Dialect[] {
  const own = dialects.filter((one) => one === 'tuf' && !serverManaged.tuf.includes('snapshot'));
  if (own.length > 0) return own;
  const why = dialects.includes('tuf')
    ? 'the service signs the snapshots, so only the service can sign their timestamps'
    : 'in the Notary dialect only the service signs timestamps';
  const fix = `let the service make a new key: portcullis trust rotate ${name} timestamp --server-managed`;
  throw authorFailure('TRUST_AUTHOR_NOT_IN_DIALECT', name, why, undefined, fix);
}

/**
 * Refuses that the service signs snapshots whose timestamps the owner signs: the owner would not have the
 * snapshot that the timestamp names, and the service would refuse every publish.
 * @throws TRUST_AUTHOR_NOT_IN_DIALECT
 */
function refuseOwnTimestamps({ name, dialects, serverManaged }: Settings): void {
  if (!dialects.includes('tuf') || serverManaged.tuf.includes('timestamp')) return;
  const why = 'the timestamps of snapshots that the service signs can only be signed by the service';
  const fix = `let the service sign the timestamps first: portcullis trust rotate ${name} timestamp --server-managed`;
  throw authorFailure('TRUST_AUTHOR_NOT_IN_DIALECT', name, why, undefined, fix);
}

/** Stages the changes of an owner for the next publish. */
export function createOwnerChanges(
  collection: OwnedCollection,
): Pick<Owner, 'stage' | 'unstage' | 'rotate' | 'rotateToServer' | 'delegate'> {
  const { working, keys } = collection;

  const stage = async (...changes: readonly StagedChange[]): Promise<void> => {
    for (const dialect of (await working.settings()).dialects)
      await stagedCollection(working, dialect, false, changes);
    await working.saveStaged([...(await working.staged()), ...changes]);
  };

  const unstage = async (which: (change: StagedChange) => boolean): Promise<void> => {
    const before = await working.staged();
    const kept = before.filter((change) => !which(change));
    if (kept.length < before.length) await working.saveStaged(kept);
  };

  return {
    stage,
    unstage,
    async rotate(role, named) {
      const settings = await working.settings();
      const { serverManaged } = settings;
      const dialects = role === 'timestamp' ? withOwnTimestamps(settings) : settings.dialects;
      const made =
        named.files.length === 0
          ? { threshold: named.threshold, keys: [await newKeyOf(collection, role)] }
          : await keysOf(collection, role, named);
      for (const dialect of dialects)
        await stage({
          kind: 'rotate',
          dialect,
          role,
          threshold: made.threshold,
          keys: await inDialect(collection, dialect, role, made.keys),
        });
      if (role === 'root' || role === 'targets') return;
      // A publish asks the service for its keys last, so its key would replace this one.
      await unstage((change) => change.kind === 'server-key' && change.role === role);
      const without = (roles: readonly OnlineRole[]): OnlineRole[] => roles.filter((one) => one !== role);
      await working.saveSettings({
        ...(await working.settings()),
        serverManaged: {
          tuf: without(serverManaged.tuf),
          notary: dialects.includes('notary') ? without(serverManaged.notary) : serverManaged.notary,
        },
      });
    },
    async rotateToServer(role) {
      const settings = await working.settings();
      if (role === 'snapshot') refuseOwnTimestamps(settings);
      const roles = (dialect: Dialect): OnlineRole[] => [
        ...new Set([...settings.serverManaged[dialect], role]),
      ];
      await stage({ kind: 'server-key', role });
      await working.saveSettings({
        ...settings,
        serverManaged: { tuf: roles('tuf'), notary: roles('notary') },
      });
    },
    async delegate({ files, ...delegation }) {
      await stage({
        kind: 'delegate',
        ...delegation,
        keys: await Promise.all(files.map((file) => keys.read(file))),
      });
    },
  };
}
