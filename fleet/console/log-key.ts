/** The prefix of the storage key, before the name of a node, for the key that this browser has pinned. */
const place = 'portcullis-log-key/';

/**
 * Returns the log key that this browser has pinned for a node. A browser that cannot store data for this page
 * has pinned no key.
 */
export function pinnedKey(node: string): string | undefined {
  try {
    return localStorage.getItem(`${place}${node}`) ?? undefined;
  } catch {
    return undefined;
  }
}

/**
 * Pins the key of the log of a node in this browser. Without a key, removes the pin. @throws DOMException if
 * the browser cannot store data for this page
 */
export function pin(node: string, key: string | undefined): void {
  if (key === undefined) localStorage.removeItem(`${place}${node}`);
  else localStorage.setItem(`${place}${node}`, key);
}

/** Returns the SHA-256 digest, in hex, of the file `verdict-log.key.pub` with this key. */
export async function fingerprintOf(key: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(`${key}\n`));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
