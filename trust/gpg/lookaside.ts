import { isAbsolute, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** The lookaside store that podman and CRI-O use when none is configured: containers-registries.d(5). */
export const defaultLookaside = 'file:///var/lib/containers/sigstore';

/**
 * Reads the address of a lookaside store: `https://…`, `http://…`, `file:///…`, or a folder, relative to
 * `folder`.
 * @returns its URL, without a trailing slash, or the fault
 */
export function parseLookaside(
  text: string,
  folder: string,
): { readonly url: string } | { readonly problem: string } {
  if (!/^[a-z][a-z0-9+.-]*:/i.test(text))
    return { url: pathToFileURL(isAbsolute(text) ? text : resolve(folder, text)).href.replace(/\/+$/, '') };
  const url = URL.parse(text);
  if (url === null) return { problem: 'it is not a URL' };
  if (!['https:', 'http:', 'file:'].includes(url.protocol))
    return { problem: `"${url.protocol}" is not supported` };
  if (url.username !== '' || url.password !== '')
    return { problem: 'the URL of a lookaside must not contain a user name or a password' };
  if (url.search !== '' || url.hash !== '') return { problem: 'it must not contain "?" or "#"' };
  if (url.protocol === 'file:' && url.host !== '') return { problem: 'a file URL has three slashes' };
  return { url: url.href.replace(/\/+$/, '') };
}

/**
 * Returns the address of one signature: `BASE/REPOSITORY@sha256=HEX/signature-N`, N from 1 (containers/image
 * docs/signature-protocols.md).
 * @param repository without its host
 */
export function signatureUrl(lookaside: string, repository: string, digest: string, index: number): string {
  return `${lookaside}/${repository}@${digest.replace(':', '=')}/signature-${index}`;
}

/** Returns the path of a `file:` URL; undefined for another URL. */
export function filePath(url: string): string | undefined {
  return url.startsWith('file:') ? fileURLToPath(url) : undefined;
}
