import type { OpenOwnerInput, Owner } from './owner.types.ts';
import { openKeystore } from '../keystore/keystore.ts';
import { withExclusiveChanges } from './exclusive-changes.ts';
import { authorFailure } from './failure.ts';
import { imageTarget } from './image-target.ts';
import { initCollection } from './new-collection.ts';
import { openDestination } from './open-destination.ts';
import type { OwnedCollection } from './owned-collection.ts';
import { createOwnerChanges } from './owner-changes.ts';
import { openOwnerKeys } from './owner-keys.ts';
import { roleViews, targetViews } from './role-views.ts';
import { publishCollection } from './session.ts';
import { signDrafts } from './witness.ts';
import { openWorkingFolder } from './working-folder.ts';

/**
 * Opens a collection for its owner.
 * @throws TRUST_AUTHOR_NAME, and the errors of signers; each change throws the errors of {@link
 * withExclusiveChanges}
 */
export async function openOwner(input: OpenOwnerInput): Promise<Owner> {
  const { folder, name, passphrase, registries, now } = input;
  const working = openWorkingFolder(folder, name);
  const keys = await openOwnerKeys(openKeystore(folder), passphrase, input.signers);
  const open: OwnedCollection['open'] = (address) =>
    openDestination({ address, name, registries, environment: process.env });
  const collection: OwnedCollection = { name, working, keys, now, open };
  const changes = createOwnerChanges(collection);

  const owner: Owner = {
    ...changes,
    init: (wanted) => initCollection(collection, wanted),
    settings: () => working.settings(),
    staged: () => working.staged(),
    imageTarget: (text) => imageTarget(registries, text),
    async publish({ to, countersign, expiry }) {
      await refuseUnknownRole(working, Object.keys(expiry));
      const settings = await working.settings();
      const addresses = [...new Set([...settings.destinations, ...to])];
      const longer = {
        tuf: { ...settings.expiry.tuf, ...expiry },
        notary: { ...settings.expiry.notary, ...expiry },
      };
      if (addresses.length === 0)
        throw authorFailure('TRUST_AUTHOR_DESTINATION', name, 'no place to publish to is named');
      const destinations = await Promise.all(addresses.map(open));
      await working.saveSettings({ ...settings, expiry: longer });
      const published = await publishCollection({
        folder: working,
        destinations,
        signers: (dialect) => keys.finder(dialect),
        countersign,
        now,
      });
      // A destination that accepts nothing would block every later publish, so it is saved only after
      // success.
      await working.saveSettings({ ...(await working.settings()), destinations: addresses });
      return published;
    },
    async witness(role) {
      const signed = await signDrafts(collection, role);
      if (signed.length > 0) return signed;
      await changes.stage({ kind: 'witness', role });
      return undefined;
    },
    targets: () => targetViews(working),
    roles: () => roleViews(working),
    firstRoot: async () => (await working.roots('tuf')).get(1),
    exclusively: (act) => act(owner),
    close: () => keys.close(),
  };
  return withExclusiveChanges(owner, working.path);
}

/** A misspelt role would keep its validity without a word. */
async function refuseUnknownRole(
  working: Parameters<typeof roleViews>[0],
  roles: readonly string[],
): Promise<void> {
  if (roles.length === 0) return;
  const known = new Set((await roleViews(working)).map(({ role }) => role));
  const unknown = roles.find((role) => !known.has(role));
  if (unknown !== undefined)
    throw authorFailure('TRUST_AUTHOR_NO_ROLE', unknown, 'the collection has no such role');
}
