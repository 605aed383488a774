import { refuse } from './refusal.ts';
import type { Refusal } from './refusal.ts';
import type { Change, TrustStore } from './store.ts';

const defaultRecords = 100;
const mostRecords = 10_000;

/**
 * Answers a changefeed request (server/handlers/changefeed.go and storage/sqldb.go of Notary 0.7.0).
 * `records` is mandatory: 0 means 100, and a negative number goes backwards from `change_id`. A negative
 * `change_id` means the newest change.
 */
export async function readChangefeed(
  store: TrustStore,
  gun: string | undefined,
  query: URLSearchParams,
): Promise<Refusal | { readonly body: string }> {
  const wanted = query.get('records') ?? '';
  const records = whole(wanted);
  if (records === undefined)
    return refuse(
      'INVALID_PARAMETERS',
      `invalid records parameter: strconv.ParseInt: parsing ${JSON.stringify(wanted)}: invalid syntax`,
    );
  const id = whole(query.get('change_id') || '0');
  if (id === undefined) return refuse('INVALID_PARAMETERS', {});
  const most = Math.min(mostRecords, Math.abs(records === 0 ? defaultRecords : records));
  const backwards = id < 0 || records < 0;
  const range = backwards ? (id > 0 ? { before: id } : {}) : { after: id };
  const changes = await store.changes({ ...(gun === undefined ? {} : { gun }), ...range, most });
  return { body: JSON.stringify({ count: changes.length, records: changes.map(written) }) };
}

function written({ id, at, gun, version, sha256, category }: Change): Readonly<Record<string, unknown>> {
  return {
    ID: String(id),
    CreatedAt: new Date(at).toISOString(),
    GUN: gun,
    Version: version,
    SHA256: sha256,
    Category: category,
  };
}

/** Parses a 32-bit integer. */
function whole(text: string): number | undefined {
  const value = /^[+-]?\d{1,10}$/u.test(text) ? Number(text) : undefined;
  return value !== undefined && Math.abs(value) < 2 ** 31 ? value : undefined;
}
