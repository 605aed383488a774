import type { KeysNamed, OpenOwnerInput, InitInput, RoleView, Waiting, Owner } from './owner.types.ts';
import { parseReference } from '../../../base/distribution/index.ts';
import { openKeystore } from '../../keystore/keystore.ts';
import { topRoles } from '../metadata/model.ts';
import type { Dialect, TopRole } from '../metadata/model.ts';
import { readMetadata } from '../metadata/read.ts';
import { withExclusiveChanges } from './exclusive-changes.ts';
import type { Destination, OnlineRole } from './destination.ts';
import { draftFlaw } from './draft-flaw.ts';
import { authorFailure } from './failure.ts';
import { addSignatures, demandsOf } from './issue.ts';
import { openDestination } from './open-destination.ts';
import { openOwnerKeys } from './owner-keys.ts';
import type { OwnerKeys } from './owner-keys.ts';
import { readPublished, typeOf } from './publish.ts';
import { publishCollection, stagedCollection } from './session.ts';
import type { StagedChange, StagedKey, StagedKeys } from './staged.ts';
import { openWorkingFolder } from './working-folder.ts';
import type { Settings } from './working-folder.ts';

/**
 * Opens a collection for its owner.
 * @throws TRUST_AUTHOR_NAME, and the errors of signers; each change throws the errors of {@link
 * changingAlone}
 */
export async function openOwner(input: OpenOwnerInput): Promise<Owner> {
  const { folder, name, passphrase, registries, now } = input;
  const working = openWorkingFolder(folder, name);
  const keys = await openOwnerKeys(openKeystore(folder), passphrase, input.signers);
  const open = (address: string): Promise<Destination> => openDestination({ address, name, registries, environment: process.env });

  const stage = async (...changes: readonly StagedChange[]): Promise<void> => {
    const before = await working.staged();
    await working.saveStaged([...before, ...changes]);
    try {
      for (const dialect of (await working.settings()).dialects) await stagedCollection(working, dialect);
    } catch (thrown) {
      await working.saveStaged(before);
      throw thrown;
    }
  };

  const keysOf = async (role: TopRole, named: KeysNamed | undefined): Promise<StagedKeys> => ({
    threshold: named?.threshold ?? 1,
    keys:
      named === undefined || named.files.length === 0
        ? [(role === 'root' ? await keys.standing('root') : undefined) ?? (await keys.generate(role, role === 'root' ? undefined : name))]
        : await Promise.all(named.files.map((file) => keys.read(file))),
  });

  const owner: Owner = {
    async init(wanted) {
      const exists = await working.settings().then(
        () => true,
        () => false,
      );
      if (exists) throw authorFailure('TRUST_AUTHOR_WORKING_FOLDER', name, `${working.path} holds this collection already`);
      await Promise.all(wanted.destinations.map(open));
      const settings = await begin(wanted, name, now, keys, keysOf);
      if (wanted.notaryRoot !== undefined) {
        const service = await open(wanted.destinations.find((address) => /^https?:/u.test(address)) ?? '');
        const version = readMetadata('notary', 'root', wanted.notaryRoot).signed.version;
        const known = new Map([['root', wanted.notaryRoot]]);
        const read = await readPublished('notary', service.source('notary'), known);
        if (read === undefined)
          throw authorFailure('TRUST_AUTHOR_DESTINATION', service.address, 'nothing is published there in Notary’s dialect');
        await working.saveRoot('notary', version, wanted.notaryRoot);
        for (const [newer, bytes] of read.roots) await working.saveRoot('notary', newer, bytes);
        await working.saveStanding('notary', read.standing);
      }
      await working.saveSettings(settings);
      return settings;
    },
    settings: () => working.settings(),
    staged: () => working.staged(),
    stage,
    async imageTarget(text) {
      const reference = parseReference(text);
      const repository = (await registries.repositories(reference)).at(-1);
      if (repository === undefined) throw authorFailure('TRUST_AUTHOR_DESTINATION', text, 'no registry serves it');
      const { bytes, digest } = await repository.manifest(reference.digest ?? reference.tag ?? 'latest');
      if (!digest.startsWith('sha256:')) throw authorFailure('TRUST_AUTHOR_NO_TARGET', text, `its digest is ${digest}; sha256 is signed`);
      return { length: bytes.length, hashes: { sha256: digest.slice('sha256:'.length) }, custom: undefined };
    },
    async rotate(role, named) {
      const { dialects, serverManaged } = await working.settings();
      const made =
        named.files.length === 0
          ? { threshold: named.threshold, keys: [await keys.generate(role, role === 'root' ? undefined : name)] }
          : await keysOf(role, named);
      for (const dialect of dialects)
        await stage({
          kind: 'rotate',
          dialect,
          role,
          threshold: made.threshold,
          keys: await inDialect(dialect, role, made.keys, name, now, keys),
        });
      if (role === 'root' || role === 'targets') return;
      const without = (roles: readonly OnlineRole[]): OnlineRole[] => roles.filter((one) => one !== role);
      await working.saveSettings({
        ...(await working.settings()),
        serverManaged: { tuf: without(serverManaged.tuf), notary: without(serverManaged.notary) },
      });
    },
    async rotateToServer(role) {
      const settings = await working.settings();
      const roles = (dialect: Dialect): OnlineRole[] => [...new Set([...settings.serverManaged[dialect], role])];
      await stage({ kind: 'server-key', role });
      await working.saveSettings({ ...settings, serverManaged: { tuf: roles('tuf'), notary: roles('notary') } });
    },
    async delegate({ files, ...delegation }) {
      await stage({ kind: 'delegate', ...delegation, keys: await Promise.all(files.map((file) => keys.read(file))) });
    },
    async publish({ to, countersign, expiry }) {
      const settings = await working.settings();
      const addresses = [...new Set([...settings.destinations, ...to])];
      const longer = { tuf: { ...settings.expiry.tuf, ...expiry }, notary: { ...settings.expiry.notary, ...expiry } };
      if (addresses.length === 0) throw authorFailure('TRUST_AUTHOR_DESTINATION', name, 'no place to publish to is named');
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
      const { dialects } = await working.settings();
      const staged = await working.staged();
      const found: Waiting[] = [];
      for (const dialect of dialects) {
        const [pending, standing, collection] = await Promise.all([
          working.pending(dialect),
          working.standing(dialect),
          stagedCollection(working, dialect),
        ]);
        const bytes = pending.get(role);
        if (bytes === undefined || collection === undefined) continue;
        const meant = [collection, (await stagedCollection(working, dialect, true)) ?? collection];
        const flaws = meant.map((one) => draftFlaw(one, standing, { role, bytes }, atServiceIn(staged, dialect)));
        const [flaw] = flaws.includes(undefined) ? [] : flaws;
        if (flaw !== undefined) throw authorFailure('TRUST_AUTHOR_OTHER_DRAFT', role, `the draft that waits is not signed: ${flaw}`);
        const { bytes: signed, missing } = await addSignatures(collection, standing, { role, bytes }, keys.finder(dialect));
        await working.savePending(dialect, new Map(pending).set(role, signed));
        const [wanting] = missing;
        const { threshold = 1 } = demandsOf(collection, role, standing).at(-1) ?? {};
        const { version, expires } = readMetadata(dialect, typeOf(role), signed).signed;
        const counts = { have: wanting?.have ?? threshold, threshold: wanting?.threshold ?? threshold };
        found.push({ dialect, version, expires: new Date(expires).toISOString(), ...counts });
      }
      if (found.length > 0) return found;
      await stage({ kind: 'witness', role });
      return undefined;
    },
    async targets() {
      const { dialects } = await working.settings();
      const collection = await stagedCollection(working, dialects.includes('tuf') ? 'tuf' : 'notary');
      return [...(collection?.targets ?? [])].flatMap(([role, { targets }]) =>
        [...targets].map(([path, file]) => ({ path, role, ...file })),
      );
    },
    async roles() {
      const { dialects, serverManaged } = await working.settings();
      const views = await Promise.all(dialects.map((dialect) => rolesOf(dialect, serverManaged[dialect])));
      return views.flat();
    },
    close: () => keys.close(),
  };
  return withExclusiveChanges(owner, working.path);

  async function rolesOf(dialect: Dialect, managed: readonly string[]): Promise<RoleView[]> {
    const [collection, standing] = await Promise.all([stagedCollection(working, dialect), working.standing(dialect)]);
    const facts = (role: string): Pick<RoleView, 'version' | 'expires'> => {
      const bytes = standing.get(role);
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
}

function atServiceIn(staged: readonly StagedChange[], dialect: Dialect): OnlineRole[] {
  return staged.flatMap((change) => (change.kind === 'server-key' && (change.dialect ?? dialect) === dialect ? [change.role] : []));
}

async function inDialect(
  dialect: Dialect,
  role: TopRole,
  staged: readonly StagedKey[],
  name: string,
  now: Date,
  keys: OwnerKeys,
): Promise<StagedKey[]> {
  if (dialect === 'notary' && role === 'root') return Promise.all(staged.map((key) => keys.certified(key, name, now)));
  // Only Notary's roots use certificates: all other roles use the bare key.
  return staged.map(({ spki }) => ({ spki }));
}

async function begin(
  { dialects, destinations, keys: named, expiry, localKeys, notaryRoot }: InitInput,
  name: string,
  now: Date,
  keys: OwnerKeys,
  keysOf: (role: TopRole, named: KeysNamed | undefined) => Promise<StagedKeys>,
): Promise<Settings> {
  const served = destinations.some((address) => /^https?:/u.test(address));
  // Only a service signs Notary's timestamps.
  const managed = (dialect: Dialect): OnlineRole[] =>
    (['snapshot', 'timestamp'] as const).filter(
      (role) => named[role] === undefined && served && (!localKeys || (dialect === 'notary' && role === 'timestamp')),
    );
  const serverManaged = { tuf: managed('tuf'), notary: managed('notary') };
  const made = new Map<TopRole, StagedKeys>();
  const of = async (role: TopRole): Promise<StagedKeys> => {
    const known = made.get(role) ?? (await keysOf(role, named[role]));
    made.set(role, known);
    return known;
  };
  const beginnings: Partial<Record<Dialect, Partial<Record<TopRole, StagedKeys>>>> = {};
  for (const dialect of dialects) {
    if (dialect === 'notary' && notaryRoot !== undefined) continue;
    const roles: Partial<Record<TopRole, StagedKeys>> = {};
    for (const role of topRoles) {
      if ((serverManaged[dialect] as readonly string[]).includes(role)) continue;
      const { threshold, keys: staged } = await of(role);
      roles[role] = { threshold, keys: await inDialect(dialect, role, staged, name, now, keys) };
    }
    beginnings[dialect] = roles;
  }
  return { version: 1, name, dialects, destinations, expiry: { tuf: expiry, notary: expiry }, serverManaged, begin: beginnings };
}
