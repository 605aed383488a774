import { parseJson } from '../../base/json/index.ts';
import { recordOf, textOf } from '../json/strict-json.ts';
import { certificatesOfPem, commonNameOf } from '../x509/pem.ts';

/**
 * Returns the names in the certificates of a Notary root's keys. A Notary root is made for one image: the
 * common name of its certificate is the image's name, or a prefix that ends in `*` (trustpinning of Notary
 * 0.7).
 * @param root a verified root
 */
export function rootNames(root: Buffer): string[] {
  const signed = recordOf(recordOf(parseJson(root.toString('utf8')))?.['signed']);
  const keys = recordOf(signed?.['keys']) ?? {};
  const own = recordOf(recordOf(signed?.['roles'])?.['root'])?.['keyids'];
  return (Array.isArray(own) ? own : []).flatMap((id) => {
    const key = recordOf(keys[textOf(id) ?? '']);
    const text = recordOf(key?.['keyval'])?.['public'];
    if (typeof text !== 'string' || textOf(key?.['keytype'])?.endsWith('-x509') !== true) return [];
    // A certificate without a readable name is valid for no image.
    return [commonName(Buffer.from(text, 'base64')) ?? '(no name)'];
  });
}

/**
 * Returns whether a root with these names is valid for the image. A root without certificates restricts no
 * names.
 */
export function mayName(names: readonly string[], image: string): boolean {
  return (
    names.length === 0 ||
    names.some((name) => name === image || (name.endsWith('*') && image.startsWith(name.slice(0, -1))))
  );
}

function commonName(pem: Buffer): string | undefined {
  try {
    const [leaf] = certificatesOfPem(pem);
    return leaf === undefined ? undefined : commonNameOf(leaf);
  } catch {
    return undefined;
  }
}
