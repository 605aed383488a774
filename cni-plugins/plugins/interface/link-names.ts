import { createHash } from 'node:crypto';
import type { AttachmentKey } from '../../spec/attachment-key.ts';

/**
 * Names and MAC addresses derived from the attachment, so that a second attempt finds what the first one
 * created. Pure.
 */

function digestOf(purpose: string, key: AttachmentKey): Buffer {
  return createHash('sha256')
    .update([purpose, key.network, key.containerId, key.interface].join('\0'))
    .digest();
}

/** Returns the prefix and as many hexadecimal digits as a link's name has room for (15 characters). */
export const linkNameOf = (prefix: string, key: AttachmentKey): string =>
  prefix +
  digestOf(prefix, key)
    .toString('hex')
    .slice(0, 15 - prefix.length);

/** Returns the whole digest, for a link's alias: it identifies the owner of a link beyond the short name. */
export const ownerOf = (purpose: string, key: AttachmentKey): string =>
  `portcullis:${digestOf(purpose, key).toString('hex')}`;

/** Returns a unicast, locally administered address. */
export function macOf(purpose: string, key: AttachmentKey): string {
  const bytes = digestOf(`mac ${purpose}`, key).subarray(0, 6);
  bytes.writeUInt8((bytes.readUInt8(0) & 0xfc) | 0x02, 0);
  return bytes.toString('hex').replace(/..(?=.)/g, '$&:');
}
