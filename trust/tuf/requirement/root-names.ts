import { parseJson } from '../../../base/json/index.ts';
import { recordOf } from '../../strict-json.ts';
import { certificatesOfPem, commonNameOf } from '../../x509/pem.ts';

/**
 * The names in the certificates of Notary's root keys. A root of Notary is made for one image: the common name of its certificate
 * is that image's, or a prefix that ends in `*` (trustpinning of Notary 0.7).
 * @param root a root that was verified
 */
export function rootNames(root: Buffer): string[] {
  const signed = recordOf(recordOf(parseJson(root.toString('utf8')))?.['signed']);
  const keys = recordOf(signed?.['keys']) ?? {};
  const own = recordOf(recordOf(signed?.['roles'])?.['root'])?.['keyids'];
  return (Array.isArray(own) ? own : []).flatMap((id) => {
    const key = recordOf(keys[String(id)]);
    const text = recordOf(key?.['keyval'])?.['public'];
    if (typeof text !== 'string' || !String(key?.['keytype']).endsWith('-x509')) return [];
    // A certificate whose name cannot be told is made for no image.
    return [commonName(Buffer.from(text, 'base64')) ?? '(no name)'];
  });
}

/** Whether a root with these names may speak for the image. One without certificates names nobody. */
export function mayName(names: readonly string[], image: string): boolean {
  return names.length === 0 || names.some((name) => name === image || (name.endsWith('*') && image.startsWith(name.slice(0, -1))));
}

function commonName(pem: Buffer): string | undefined {
  try {
    const [leaf] = certificatesOfPem(pem);
    return leaf === undefined ? undefined : commonNameOf(leaf);
  } catch {
    return undefined;
  }
}
