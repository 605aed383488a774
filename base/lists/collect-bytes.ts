/** Bytes that arrive in pieces. */
export interface CollectedBytes {
  /** Adds a piece, which must not change later. */
  add(piece: Uint8Array): void;
  /** Returns all bytes. */
  join(): Buffer;
}

/** Bytes. A shorter piece is copied, because its object takes much memory compared with its content. */
const smallPiece = 1024;
/** Bytes. The first page is short, because most messages are. */
const [firstPage, longestPage] = [256, 16 * 1024];

/**
 * Collects the pieces of a message in memory for at most about twice its length. A sender decides how long
 * pieces are: as a list of pieces of one byte, a message takes more than 400 times its length.
 */
export function collectBytes(): CollectedBytes {
  const parts: Uint8Array[] = [];
  let length = 0;
  let page = Buffer.alloc(0);
  /** The part of the page that is in use, and its beginning that is in `parts`. */
  let [used, listed] = [0, 0];
  const list = (): void => {
    if (used > listed) parts.push(page.subarray(listed, used));
    listed = used;
  };
  return {
    add(piece) {
      length += piece.length;
      if (piece.length >= smallPiece) {
        list();
        parts.push(piece);
        return;
      }
      if (used + piece.length > page.length) {
        list();
        const size = Math.min(Math.max(length, firstPage), longestPage);
        page = Buffer.allocUnsafeSlow(size);
        [used, listed] = [0, 0];
      }
      page.set(piece, used);
      used += piece.length;
    },
    join() {
      list();
      return Buffer.concat(parts, length);
    },
  };
}
