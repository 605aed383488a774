import { verifyAsync } from '@noble/ed25519';
import { ask } from './api.ts';
import type { Row } from './api.ts';

/** The result of a verification in the browser. */
export interface LogCheck {
  readonly ok: boolean;
  /** Rows whose hash follows from the previous row, and that the signed checkpoint covers. */
  readonly verified: number;
  /** Rows that the aggregator has, and that cannot be verified. */
  readonly unverifiable: number;
  /** Sentences, the most important one first. */
  readonly found: readonly string[];
}

const origin = 'portcullis.dev/verdict-log/chain/v1';
const pageRows = 1000;

/**
 * Verifies the part of a node's log that the aggregator has, without trusting the aggregator: the hash of
 * each row, and the signature of the latest checkpoint (docs/verdicts.md, "Hash chain and checkpoints").
 * @param key as NAME+ID+BASE64 (C2SP signed-note)
 * @param onProgress called with the number of rows read so far
 */
export async function verifyLog(
  node: string,
  { key, checkpoint }: { readonly key: string; readonly checkpoint: string },
  onProgress: (rows: number) => void,
): Promise<LogCheck> {
  const head = checkpoint === '' ? undefined : readCheckpoint(checkpoint);
  let [previous, last, count] = ['', 0, 0];
  /** Rows whose hash was computed, up to the checkpoint. */
  let proven = 0;
  let headHash: string | undefined;
  const found: string[] = [];
  for await (const rows of pagesOf(node)) {
    for (const row of rows) {
      if (count > 0 && row.seq !== last + 1) return broken(`Row ${last + 1} is missing.`);
      if (count === 0 && row.seq !== 1) {
        // Rows before it have expired. The chain begins with its hash, and nothing proves its content.
        found.push(`Rows before ${row.seq} have expired at the aggregator.`);
      } else {
        const before = row.seq === 1 ? '0'.repeat(64) : previous;
        const computed = await sha256(`${row.seq}\n${before}\n${row.evidence}\n${row.entry}`);
        if (computed !== row.hash) return broken(`Row ${row.seq} does not follow from the previous row.`);
        if (head !== undefined && row.seq <= head.size) proven += 1;
      }
      [previous, last] = [row.hash, row.seq];
      count += 1;
      if (row.seq === head?.size) headHash = row.hash;
    }
    onProgress(count);
  }
  const unproven = (why: string): LogCheck => ({
    ok: false,
    verified: 0,
    unverifiable: count,
    found: [...found, why],
  });
  if (head === undefined) return unproven('There is no checkpoint yet.');
  if (!(await isSigned(head, key))) return broken('The signature of the checkpoint is not valid.');
  if (headHash === undefined) return unproven(`The row of the checkpoint, ${head.size}, is not available.`);
  if (headHash !== head.hash)
    return broken(`The checkpoint of ${head.size} rows has another hash than row ${head.size}.`);
  found.unshift(`The checkpoint of ${head.size} rows has a valid signature, and matches the chain.`);
  return { ok: true, verified: proven, unverifiable: count - proven, found };
}

/** Yields the rows that the aggregator has of a node, page by page. */
async function* pagesOf(node: string): AsyncGenerator<readonly Row[]> {
  let last = 0;
  for (;;) {
    const query = `nodes/${encodeURIComponent(node)}/log?most=${pageRows}&after=${last}`;
    const { rows, next } = await ask<{ rows: readonly Row[]; next?: string }>(query);
    yield rows;
    if (next === undefined) return;
    last = rows.at(-1)?.seq ?? last;
  }
}

const broken = (why: string): LogCheck => ({ ok: false, verified: 0, unverifiable: 0, found: [why] });

interface Checkpoint {
  readonly text: string;
  readonly size: number;
  /** Hex. */
  readonly hash: string;
  readonly signatures: readonly { readonly name: string; readonly bytes: Uint8Array<ArrayBuffer> }[];
}

/** Reads a checkpoint. Undefined when it is malformed. */
export function readCheckpoint(note: string): Checkpoint | undefined {
  const split = note.lastIndexOf('\n\n');
  const text = note.slice(0, split + 1);
  const [first, size = '', hash = ''] = text.split('\n');
  if (split < 0 || first !== origin || !/^[1-9][0-9]{0,14}$/u.test(size)) return undefined;
  const signatures = note
    .slice(split + 2)
    .trimEnd()
    .split('\n')
    .flatMap((line) => {
      const [, name, base64] = /^— ([^\s+]+) ([A-Za-z0-9+/]+=*)$/u.exec(line) ?? [];
      return name === undefined || base64 === undefined ? [] : [{ name, bytes: bytesOf(base64) }];
    });
  return { text, size: Number(size), hash: hexOf(bytesOf(hash)), signatures };
}

async function isSigned({ text, signatures }: Checkpoint, key: string): Promise<boolean> {
  const [, name, id, base64] = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)$/u.exec(key) ?? [];
  if (base64 === undefined) return false;
  const publicKey = bytesOf(base64);
  if (publicKey[0] !== 1 || publicKey.length !== 33) return false;
  const signature = signatures.find(
    (one) => one.name === name && one.bytes.length === 68 && hexOf(one.bytes.subarray(0, 4)) === id,
  );
  if (signature === undefined) return false;
  const message = new TextEncoder().encode(text);
  return verifyAsync(signature.bytes.subarray(4), message, publicKey.subarray(1)).catch(() => false);
}

function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  try {
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  } catch {
    return new Uint8Array();
  }
}

const hexOf = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

const sha256 = async (text: string): Promise<string> =>
  hexOf(new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text))));
