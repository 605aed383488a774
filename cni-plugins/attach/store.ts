import { chmodSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { PortcullisError } from '../../base/errors/index.ts';
import type { LinkClass, PortMapping } from '../types.ts';
import { formatIp, ipBytes } from '../spec/address.ts';
import type { IpAddress } from '../spec/address.ts';
import type { NetworkConfig } from '../spec/network-config.ts';
import { chooseAddress } from './ipam.ts';
import type { Choice } from './ipam.ts';
import type { AttachmentRecord, AttachmentSpec, AttachmentState } from './record.ts';

/**
 * The network's own database: attachments, leased addresses, taken host ports. Synchronous, for the network's Worker (and for
 * a program that runs without the daemon: SQLite's lock orders both). It is the only authority: nothing is leased from memory.
 *
 * synchronous=NORMAL: a commit survives the death of the process, which is what the kernel's links survive too. Only the
 * loss of the whole machine can lose a commit, and it takes every link with it.
 */
export interface NetworkStore {
  /**
   * In one BEGIN IMMEDIATE: takes the host ports, leases one address of each set and writes the record, `attaching`, class `deny`.
   * The record that stands already is returned with `created: false`.
   * @throws NETWORK_ADDRESSES_EXHAUSTED · NETWORK_HOST_PORT_TAKEN
   */
  claim(claim: Claim): { readonly record: AttachmentRecord; readonly created: boolean };
  setState(id: string, state: AttachmentState): void;
  setClass(id: string, linkClass: LinkClass): void;
  /** The ports of a detached pod may be taken at once, unlike its addresses: no rule leads to it any more. */
  freeHostPorts(id: string): void;
  /** Frees the addresses and host ports as well. */
  remove(id: string): void;
  record(id: string): AttachmentRecord | undefined;
  records(): readonly AttachmentRecord[];
  close(): void;
}

export interface Claim {
  readonly id: string;
  readonly hostInterface: string;
  readonly network: NetworkConfig;
  readonly portMappings: readonly PortMapping[];
  /** The record's spec, made of the leased addresses. */
  readonly specOf: (choices: readonly Choice[]) => AttachmentSpec;
}

/** Contiguous from version 1; PRAGMA user_version says which one stands. */
const migrations = [
  `CREATE TABLE attachment (
     id TEXT PRIMARY KEY,
     state TEXT NOT NULL CHECK (state IN ('attaching', 'ready', 'detaching')),
     class TEXT NOT NULL,
     host_interface TEXT NOT NULL UNIQUE,
     spec TEXT NOT NULL
   ) STRICT;
   CREATE TABLE lease (
     address BLOB PRIMARY KEY,
     attachment TEXT NOT NULL REFERENCES attachment (id) ON DELETE CASCADE
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX lease_attachment ON lease (attachment);
   CREATE TABLE last_lease (
     network TEXT NOT NULL,
     range_set INTEGER NOT NULL,
     address BLOB NOT NULL,
     PRIMARY KEY (network, range_set)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE host_port (
     protocol TEXT NOT NULL,
     port INTEGER NOT NULL,
     host_ip TEXT NOT NULL,
     attachment TEXT NOT NULL REFERENCES attachment (id) ON DELETE CASCADE,
     PRIMARY KEY (protocol, port, host_ip)
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX host_port_attachment ON host_port (attachment);`,
];

interface Row {
  readonly id: string;
  readonly state: AttachmentState;
  readonly class: LinkClass;
  readonly spec: string;
}

const recordOf = (row: Row): AttachmentRecord => ({
  id: row.id,
  state: row.state,
  class: row.class,
  spec: JSON.parse(row.spec) as AttachmentSpec,
});

/** 16 bytes in network order, IPv4 as ::ffff:a.b.c.d: one key space, sorted like the numbers. */
const mappedPrefix = 0xffffn << 32n;
const keyOf = (family: 4 | 6, value: bigint): Buffer => ipBytes({ family: 6, value: family === 4 ? mappedPrefix | value : value });
function valueOf(family: 4 | 6, key: Uint8Array): bigint {
  const value = BigInt(`0x${Buffer.from(key).toString('hex')}`);
  return family === 4 ? value & 0xffffffffn : value;
}

/** @throws NETWORK_NEWER_SCHEMA */
export function openNetworkStore(path: string): NetworkStore {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const db = new DatabaseSync(path, { timeout: 10_000 });
  chmodSync(path, 0o600);
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON');
  migrate(db, path);

  const selectOne = db.prepare('SELECT id, state, class, spec FROM attachment WHERE id = ?');
  const selectAll = db.prepare('SELECT id, state, class, spec FROM attachment ORDER BY rowid');
  const insert = db.prepare("INSERT INTO attachment (id, state, class, host_interface, spec) VALUES (?, 'attaching', 'deny', ?, ?)");
  const updateState = db.prepare('UPDATE attachment SET state = ? WHERE id = ?');
  const updateClass = db.prepare('UPDATE attachment SET class = ? WHERE id = ?');
  const deleteOne = db.prepare('DELETE FROM attachment WHERE id = ?');
  const leasedBetween = db.prepare('SELECT address FROM lease WHERE address BETWEEN ? AND ? ORDER BY address');
  const insertLease = db.prepare('INSERT INTO lease (address, attachment) VALUES (?, ?)');
  const selectLast = db.prepare('SELECT address FROM last_lease WHERE network = ? AND range_set = ?');
  const upsertLast = db.prepare(
    'INSERT INTO last_lease (network, range_set, address) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET address = excluded.address',
  );
  const holderOf = db.prepare(
    `SELECT attachment FROM host_port WHERE protocol = ?1 AND port = ?2 AND (host_ip = ?3 OR host_ip = '' OR ?3 = '') LIMIT 1`,
  );
  const insertPort = db.prepare('INSERT INTO host_port (protocol, port, host_ip, attachment) VALUES (?, ?, ?, ?)');

  const deletePorts = db.prepare('DELETE FROM host_port WHERE attachment = ?');

  const record = (id: string): AttachmentRecord | undefined => {
    const row = selectOne.get(id) as Row | undefined;
    return row === undefined ? undefined : recordOf(row);
  };

  const choose = (network: NetworkConfig, index: number): Choice => {
    const set = network.rangeSets[index] ?? [];
    const family = set[0]?.start.family ?? 4;
    const last = (selectLast.get(network.name, index) as { address: Uint8Array } | undefined)?.address;
    const leased = function* (low: bigint, high: bigint): Generator<bigint> {
      for (const row of leasedBetween.iterate(keyOf(family, low), keyOf(family, high)))
        yield valueOf(family, (row as { address: Uint8Array }).address);
    };
    const choice = chooseAddress(set, last === undefined ? undefined : valueOf(family, last), leased);
    if (choice === undefined) throw exhausted(network, index);
    return choice;
  };

  const claimInside = ({ id, hostInterface, network, portMappings, specOf }: Claim): AttachmentRecord => {
    for (const mapping of portMappings) {
      const holder = holderOf.get(mapping.protocol, mapping.hostPort, mapping.hostIp ?? '') as { attachment: string } | undefined;
      if (holder !== undefined) throw portTaken(mapping, record(holder.attachment), holder.attachment);
    }
    const choices = network.rangeSets.map((_, index) => choose(network, index));
    const spec = specOf(choices);
    insert.run(id, hostInterface, JSON.stringify(spec));
    choices.forEach(({ address }, index) => {
      const key = keyOf(address.family, address.value);
      insertLease.run(key, id);
      upsertLast.run(network.name, index, key);
    });
    for (const mapping of portMappings) insertPort.run(mapping.protocol, mapping.hostPort, mapping.hostIp ?? '', id);
    return { id, state: 'attaching', class: 'deny', spec };
  };

  return {
    claim: (claim) =>
      inTransaction(db, () => {
        const standing = record(claim.id);
        return standing === undefined ? { record: claimInside(claim), created: true } : { record: standing, created: false };
      }),
    setState: (id, state) => void updateState.run(state, id),
    setClass: (id, linkClass) => void updateClass.run(linkClass, id),
    freeHostPorts: (id) => void deletePorts.run(id),
    remove: (id) => void deleteOne.run(id),
    record,
    records: () => (selectAll.all() as unknown as Row[]).map(recordOf),
    close: () => db.close(),
  };
}

function inTransaction<T>(db: DatabaseSync, body: () => T): T {
  db.exec('BEGIN IMMEDIATE');
  try {
    const result = body();
    db.exec('COMMIT');
    return result;
  } catch (thrown) {
    if (db.isTransaction) db.exec('ROLLBACK');
    throw thrown;
  }
}

function migrate(db: DatabaseSync, path: string): void {
  inTransaction(db, () => {
    const standing = (db.prepare('PRAGMA user_version').get() as { user_version: number }).user_version;
    if (standing > migrations.length) {
      throw new PortcullisError({
        code: 'NETWORK_NEWER_SCHEMA',
        kind: 'precondition',
        attempted: 'open the network database',
        on: path,
        why: `it was written by a newer version (schema ${standing}, known is ${migrations.length})`,
        fix: 'run the version that wrote it, or a newer one',
      });
    }
    migrations.slice(standing).forEach((sql) => db.exec(sql));
    db.exec(`PRAGMA user_version = ${migrations.length}`);
  });
}

function exhausted(network: NetworkConfig, index: number): PortcullisError {
  const ranges = (network.rangeSets[index] ?? [])
    .map(({ start, end }: { start: IpAddress; end: IpAddress }) => `${formatIp(start)}-${formatIp(end)}`)
    .join(', ');
  return new PortcullisError({
    code: 'NETWORK_ADDRESSES_EXHAUSTED',
    kind: 'exhausted',
    attempted: 'lease an address of the network',
    on: network.name,
    why: `every address of ${ranges} is leased`,
    fix: 'remove pods that are not needed, or give the network a larger range',
    details: { network: network.name, ranges },
  });
}

function portTaken(mapping: PortMapping, holder: AttachmentRecord | undefined, holderId: string): PortcullisError {
  const pod = holder === undefined ? '' : `pod ${holder.spec.pod.namespace}/${holder.spec.pod.name}, `;
  return new PortcullisError({
    code: 'NETWORK_HOST_PORT_TAKEN',
    kind: 'already-exists',
    attempted: 'take the host port',
    on: `${mapping.hostPort}/${mapping.protocol}`,
    why: `${pod}sandbox ${holderId}, holds it`,
    fix: 'remove that pod or choose another host port',
    details: { port: mapping.hostPort, protocol: mapping.protocol, holder: holderId },
  });
}
