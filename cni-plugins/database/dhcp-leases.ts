import { parseJson } from '../../base/json/index.ts';
import type { NetworkDatabase } from './database.ts';
import type { PluginAttachment } from './plugin-attachments.ts';

/** Leases of DHCP servers in the database, each of one plugin attachment, with which it ends. */
export interface DhcpLeaseStore<Document> {
  /** Returns undefined if there is no lease, or if its record is damaged. */
  get(holder: LeaseHolder): Document | undefined;
  put(holder: LeaseHolder, document: Document): void;
  /** Replaces the document if the lease still exists. */
  update(holder: LeaseHolder, document: Document): void;
  /** Without a document, the record of the lease is damaged. */
  all(): readonly (LeaseHolder & { readonly document?: Document })[];
  /** Names of endpoints follow when the address of their attachment changes. Both have 4 bytes. */
  moveNames(holder: LeaseHolder, from: Uint8Array, to: Uint8Array): void;
}

export type LeaseHolder = Pick<PluginAttachment, 'attachment' | 'type'>;

/** The form of IPv4 addresses in the database: ::ffff:a.b.c.d. */
const keyOf = (address: Uint8Array): Buffer =>
  Buffer.concat([Buffer.alloc(10), Buffer.of(255, 255), address]);

export function createDhcpLeaseStore<Document>({ db }: NetworkDatabase): DhcpLeaseStore<Document> {
  const selectOne = db.prepare('SELECT document FROM dhcp_lease WHERE attachment = ? AND part = ?');
  const selectAll = db.prepare('SELECT attachment, part AS type, document FROM dhcp_lease');
  const upsert = db.prepare(
    `INSERT INTO dhcp_lease (attachment, part, document) VALUES (?, ?, ?)
     ON CONFLICT DO UPDATE SET document = excluded.document`,
  );
  const updateOne = db.prepare('UPDATE dhcp_lease SET document = ? WHERE attachment = ? AND part = ?');
  const updateNames = db.prepare(
    'UPDATE OR REPLACE name SET address = ? WHERE attachment = ? AND address = ?',
  );
  const documentOf = (text: unknown): Document | undefined => {
    try {
      const value = parseJson(String(text));
      return Object(value) === value ? (value as Document) : undefined;
    } catch {
      return undefined;
    }
  };
  return {
    get({ attachment, type }) {
      const row = selectOne.get(attachment, type);
      return row === undefined ? undefined : documentOf(row['document']);
    },
    put: ({ attachment, type }, document) => void upsert.run(attachment, type, JSON.stringify(document)),
    update: ({ attachment, type }, document) =>
      void updateOne.run(JSON.stringify(document), attachment, type),
    all: () =>
      selectAll.all().map((row) => {
        const document = documentOf(row['document']);
        return {
          attachment: Number(row['attachment']),
          type: String(row['type']),
          ...(document !== undefined && { document }),
        };
      }),
    moveNames: ({ attachment }, from, to) => void updateNames.run(keyOf(to), attachment, keyOf(from)),
  };
}
