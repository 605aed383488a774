import { createHash } from 'node:crypto';
import { PortcullisError } from '../../../base/errors/index.ts';
import { policyKey } from '../../keys/public-key.ts';
import { derOfEcdsaSignature } from '../../x509/ecdsa-signature.ts';
import { checkScheme, defaultScheme } from '../../signers/signer.ts';
import type { Signer, WitnessUrls } from '../../signers/signer.ts';
import type { SignatureScheme } from '../../signers/signature-scheme.ts';
import { publicKeyOf } from './public-key.ts';
import { startToken } from './token-process.ts';
import { parsePkcs11Uri } from './uri.ts';

/**
 * CKM_… of each scheme. ECDSA signs the digest, the others the message; the parameter of PSS has its hash,
 * mask and salt.
 */
const mechanisms: Readonly<
  Record<
    Exclude<SignatureScheme, 'ed25519ph' | 'ml-dsa'>,
    { readonly mechanism: number; readonly pss?: readonly [hash: number, mask: number, salt: number] }
  >
> = {
  'ecdsa-sha256': { mechanism: 0x1041 },
  'ecdsa-sha384': { mechanism: 0x1041 },
  'ecdsa-sha512': { mechanism: 0x1041 },
  'rsa-pkcs1-sha256': { mechanism: 0x40 },
  'rsa-pss-sha256': { mechanism: 0x43, pss: [0x250, 2, 32] },
  'rsa-pss-sha384': { mechanism: 0x44, pss: [0x260, 3, 48] },
  'rsa-pss-sha512': { mechanism: 0x45, pss: [0x270, 4, 64] },
  ed25519: { mechanism: 0x1057 },
};

const defaultPatienceMs = 60_000;

export interface Pkcs11Options {
  /** RFC 7512: `pkcs11:token=…;object=…?module-path=…&pin-source=file:…`. */
  readonly uri: string;
  /** Returns the PIN when the URI names no `pin-source`. */
  readonly pin: (question: string) => Promise<string>;
  readonly readPinFile: (file: string) => Promise<string>;
  /** DER, leaf first. Replaces the certificate stored on the token. */
  readonly certificates?: readonly Buffer[];
  readonly witnesses?: WitnessUrls;
  /** Milliseconds that the module may take for one answer. Default: one minute. */
  readonly patienceMs?: number;
}

/**
 * Returns a signer whose key never leaves a token. The token is accessed through its PKCS #11 module, in a
 * process of its own: a module that never answers, or whose file cannot be read, holds up nothing else.
 * @throws PortcullisError `TRUST_PKCS11_URI`, `TRUST_PKCS11_FAILED`
 */
export async function pkcs11Signer(options: Pkcs11Options): Promise<Signer> {
  const uri = parsePkcs11Uri(options.uri);
  const on = options.uri.split('?', 1)[0] ?? '';
  const fail = (why: string): PortcullisError =>
    new PortcullisError({
      code: 'TRUST_PKCS11_FAILED',
      kind: 'precondition',
      attempted: 'use a PKCS #11 token',
      on,
      why,
      fix: 'check module-path, token, object or id of the URI, and the PIN',
    });
  const pin = Buffer.from(
    uri.pinFile === undefined ? await options.pin(`PIN of ${on}: `) : await options.readPinFile(uri.pinFile),
  );
  const { ask, end } = startToken(options.patienceMs ?? defaultPatienceMs, fail);
  try {
    const opened = await ask({ kind: 'open', uri, pin });
    if (!('key' in opened)) throw fail('it returned no key');
    const object = publicKeyOf(opened.key);
    const key =
      typeof object === 'string'
        ? { problem: object }
        : policyKey(`${opened.key.token}/${uri.object ?? uri.id?.toString('hex') ?? ''}`, object);
    if ('problem' in key) throw fail(key.problem);
    const { certificate } = opened.key;
    const certificates =
      options.certificates ?? (certificate === undefined ? [] : [Buffer.from(certificate)]);
    return {
      public: key,
      certificates,
      witnesses: options.witnesses ?? { logs: [], timestamps: [] },
      async sign(message, scheme = defaultScheme(key)) {
        checkScheme(key, scheme);
        // CKM_EDDSA takes this as a parameter, which SoftHSM and other modules do not accept.
        if (scheme === 'ed25519ph')
          throw fail('it cannot sign a digest with Ed25519, which a Rekor v2 log requires');
        if (scheme === 'ml-dsa') throw fail('ML-DSA keys in tokens are not supported');
        const { mechanism, pss } = mechanisms[scheme];
        const data = scheme.startsWith('ecdsa-')
          ? createHash(scheme.slice('ecdsa-'.length)).update(message).digest()
          : message;
        const parameter = pss === undefined ? {} : { parameter: ulongs(pss) };
        const answer = await ask({ kind: 'sign', mechanism, data, ...parameter });
        if (!('signature' in answer)) throw fail('it returned no signature');
        const signature = Buffer.from(answer.signature);
        return scheme.startsWith('ecdsa-') ? derOfEcdsaSignature(signature) : signature;
      },
      async close() {
        await ask({ kind: 'close' }).catch(() => undefined);
        await end();
      },
    };
  } catch (error) {
    await end();
    throw error;
  } finally {
    pin.fill(0);
  }
}

function ulongs(values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(8 * values.length);
  values.forEach((value, index) => bytes.writeBigUInt64LE(BigInt(value), 8 * index));
  return bytes;
}
