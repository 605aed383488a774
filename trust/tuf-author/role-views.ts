import { topRoles } from '../tuf-metadata/model.ts';
import type { Dialect } from '../tuf-metadata/model.ts';
import { readMetadata } from '../tuf-metadata/read.ts';
import type { RoleView, TargetView } from './owner.types.ts';
import { typeOf } from './publish.ts';
import { stagedCollection } from './session.ts';
import type { WorkingFolder } from './working-folder.ts';

/** Returns the targets of every role after the next publish, in the first dialect. */
export async function targetViews(working: WorkingFolder): Promise<readonly TargetView[]> {
  const { dialects } = await working.settings();
  const collection = await stagedCollection(working, dialects.includes('tuf') ? 'tuf' : 'notary');
  return [...(collection?.targets ?? [])].flatMap(([role, { targets }]) =>
    [...targets].map(([path, file]) => ({ path, role, ...file })),
  );
}

/** Returns the roles of every dialect, as they are now and as they will be after the next publish. */
export async function roleViews(working: WorkingFolder): Promise<readonly RoleView[]> {
  const { dialects, serverManaged } = await working.settings();
  const views = await Promise.all(
    dialects.map((dialect) => rolesOf(working, dialect, serverManaged[dialect])),
  );
  return views.flat();
}

async function rolesOf(
  working: WorkingFolder,
  dialect: Dialect,
  managed: readonly string[],
): Promise<RoleView[]> {
  const [collection, existing] = await Promise.all([
    stagedCollection(working, dialect),
    working.standing(dialect),
  ]);
  const facts = (role: string): Pick<RoleView, 'version' | 'expires'> => {
    const bytes = existing.get(role);
    if (bytes === undefined) return {};
    const { version, expires } = readMetadata(dialect, typeOf(role), bytes).signed;
    return { version, expires: new Date(expires).toISOString() };
  };
  const tops = topRoles.map((role): RoleView => {
    const { keyids, threshold } = collection?.roles[role] ?? { keyids: [], threshold: 1 };
    return { dialect, role, ...facts(role), keyids, threshold, by: 'root', managed: managed.includes(role) };
  });
  const delegated = [...(collection?.targets ?? [])].flatMap(([by, { delegations }]) =>
    delegations.map(({ name: role, keyids, threshold, scope, terminating }): RoleView => ({
      dialect,
      role,
      ...facts(role),
      keyids,
      threshold,
      by,
      managed: false,
      scope,
      terminating,
    })),
  );
  return [...tops, ...delegated];
}
