import { readMetadata } from '../tuf-metadata/read.ts';
import type { Dialect } from '../tuf-metadata/model.ts';
import type { OnlineRole } from './destination.ts';
import { draftFlaw } from './draft-flaw.ts';
import { authorFailure } from './failure.ts';
import { addSignatures, demandsOf } from './issue.ts';
import type { OwnedCollection } from './owned-collection.ts';
import type { Waiting } from './owner.types.ts';
import { typeOf } from './publish.ts';
import { stagedCollection } from './session.ts';
import type { StagedChange } from './staged.ts';

/**
 * Signs the drafts of a role that wait for signatures, with the keys that are available here. Returns an
 * empty list when no draft waits.
 * @throws TRUST_AUTHOR_OTHER_DRAFT when a draft differs from the collection with its staged changes
 */
export async function signDrafts(
  { working, keys, open }: Pick<OwnedCollection, 'keys' | 'open' | 'working'>,
  role: string,
): Promise<readonly Waiting[]> {
  const { dialects, destinations: addresses } = await working.settings();
  const staged = await working.staged();
  const found: Waiting[] = [];
  for (const dialect of dialects) {
    const [pending, existing] = await Promise.all([working.pending(dialect), working.standing(dialect)]);
    const bytes = pending.get(role);
    if (bytes === undefined) continue;
    // Before the first publish, only the service knows the keys of the roles that it signs.
    const places = existing.size > 0 ? [] : await Promise.all(addresses.map(open));
    const planned = (countersign: boolean): ReturnType<typeof stagedCollection> =>
      stagedCollection(working, dialect, countersign, [], places);
    const collection = await planned(false);
    if (collection === undefined) continue;
    const meant = [collection, (await planned(true)) ?? collection];
    const flaws = meant.map((one) => draftFlaw(one, existing, { role, bytes }, atServiceIn(staged, dialect)));
    const [flaw] = flaws.includes(undefined) ? [] : flaws;
    if (flaw !== undefined)
      throw authorFailure('TRUST_AUTHOR_OTHER_DRAFT', role, `the draft that waits is not signed: ${flaw}`);
    const { bytes: signed, missing } = await addSignatures(
      collection,
      existing,
      { role, bytes },
      keys.finder(dialect),
    );
    await working.savePending(dialect, new Map(pending).set(role, signed));
    const [wanting] = missing;
    const { threshold = 1 } = demandsOf(collection, role, existing).at(-1) ?? {};
    const { version, expires } = readMetadata(dialect, typeOf(role), signed).signed;
    const counts = { have: wanting?.have ?? threshold, threshold: wanting?.threshold ?? threshold };
    found.push({ dialect, version, expires: new Date(expires).toISOString(), ...counts });
  }
  return found;
}

function atServiceIn(staged: readonly StagedChange[], dialect: Dialect): OnlineRole[] {
  return staged.flatMap((change) =>
    change.kind === 'server-key' && (change.dialect ?? dialect) === dialect ? [change.role] : [],
  );
}
