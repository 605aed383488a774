import { PortcullisError, fileReason, orThrow, reasonOf } from '../../base/errors/index.ts';
import { readGivenFile } from '../../base/files/index.ts';
import { readPassphrase } from '../keys/passphrase.ts';
import type { PassphraseSource } from '../keys/passphrase.ts';
import { loadSigningKey } from '../keys/private-key.ts';
import { keySigner } from '../signers/signer.ts';
import type { Signer, WitnessUrls } from '../signers/signer.ts';
import { parseSigningConfig, readSigningConfig } from '../signers/signing-config.ts';
import type { SigningServices } from '../signers/signing-config.ts';
import type { Certificate } from '../x509/certificate.ts';
import { certificatesOfPem } from '../x509/pem.ts';
import { isPkcs11Uri } from './pkcs11/uri.ts';

export { isPkcs11Uri } from './pkcs11/uri.ts';

/** The signer to open, and the services that receive its signatures. */
export interface OpenSignerInput {
  /** A key file, or a PKCS #11 URI (RFC 7512). Without it, the identity of the current user signs. */
  readonly key?: string;
  /** Also the source of a token's PIN, which is only read from a file or a prompt. */
  readonly passphrase: PassphraseSource;
  /** PEM file with the certificates of the key, leaf first. */
  readonly certificateChain?: string;
  /** The location of the identity token; default: the environment. */
  readonly identityToken?: { readonly file?: string; readonly variable?: string };
  /**
   * A `signing_config.json`, or `public-good`: sigstore's public services, where everything remains public
   * forever.
   */
  readonly signingConfig?: string;
  /** A certificate authority for identities, instead of the configuration's. */
  readonly fulcioUrl?: string;
  /** A log, in addition to those of the configuration. */
  readonly log?: WitnessUrls['logs'][number];
  /** Timestamp authorities, in addition to those of the configuration. */
  readonly timestampUrls?: readonly string[];
  readonly now: Date;
}

/**
 * Opens a signer: a key file, a token behind PKCS #11, or the identity of a CI job.
 * @throws PortcullisError `TRUST_KEY_UNREADABLE`, `TRUST_PKCS11_URI`, `TRUST_PKCS11_FAILED`,
 * `TRUST_SIGNING_CONFIG`, `TRUST_IDENTITY_TOKEN`, `TRUST_FULCIO_FAILED`, and the errors of passphrases
 */
export async function openSigner(input: OpenSignerInput): Promise<Signer> {
  const services = await servicesOf(input);
  const witnesses: WitnessUrls = {
    logs: [...services.witnesses.logs, ...(input.log === undefined ? [] : [input.log])],
    timestamps: [...services.witnesses.timestamps, ...(input.timestampUrls ?? [])],
  };
  const { key, passphrase } = input;
  if (key === undefined) return openKeyless(input, input.fulcioUrl ?? services.fulcioUrl, witnesses);
  const certificates =
    input.certificateChain === undefined ? undefined : await readChain(input.certificateChain);
  if (!isPkcs11Uri(key))
    return keySigner(await loadSigningKey(key, passphrase), {
      witnesses,
      ...(certificates === undefined ? {} : { certificates }),
    });
  const { pkcs11Signer } = await import('./pkcs11/pkcs11-signer.ts');
  return pkcs11Signer({
    uri: key,
    // The passphrase of keys is never tried as the PIN of a token: three wrong PINs lock a token.
    pin: (question) =>
      readPassphrase(
        { environment: {}, ...(passphrase.prompt === undefined ? {} : { prompt: passphrase.prompt }) },
        question,
      ),
    readPinFile: (file) => readPassphrase({ environment: {}, file }, ''),
    witnesses,
    ...(certificates === undefined ? {} : { certificates }),
  });
}

async function servicesOf({ signingConfig, now }: OpenSignerInput): Promise<SigningServices> {
  if (signingConfig === undefined) return { witnesses: { logs: [], timestamps: [] } };
  if (signingConfig !== 'public-good') return readSigningConfig(signingConfig, now);
  const { signingConfigOfInstance } = await import('../sigstore/instances.ts');
  return parseSigningConfig(await signingConfigOfInstance('public-good', now), signingConfig, now);
}

async function openKeyless(
  input: OpenSignerInput,
  fulcioUrl: string | undefined,
  witnesses: WitnessUrls,
): Promise<Signer> {
  if (fulcioUrl === undefined) {
    throw new PortcullisError({
      code: 'TRUST_SIGNING_CONFIG',
      kind: 'invalid',
      attempted: 'sign without a key',
      on: '',
      why: 'no certificate authority is named',
      fix: 'name --signing-config FILE, or public-good for sigstore’s public services',
    });
  }
  const { findIdentityToken } = await import('../signers/identity-token.ts');
  const { keylessSigner } = await import('../signers/keyless.ts');
  const token = await findIdentityToken({
    environment: input.passphrase.environment,
    ...input.identityToken,
    now: input.now,
  });
  return keylessSigner({ token, fulcioUrl, witnesses });
}

async function readChain(file: string): Promise<readonly Buffer[]> {
  const fail = (why: string): PortcullisError =>
    new PortcullisError({
      code: 'TRUST_CERTIFICATE_UNREADABLE',
      kind: 'invalid',
      attempted: 'read certificates',
      on: file,
      why,
      fix: 'name a PEM file with the certificate of the key first, followed by its issuers',
    });
  const text: string = await orThrow(
    async () => (await readGivenFile(file, 256 * 1024)).toString('utf8'),
    (error) => fail(fileReason(error, file)),
  );
  const chain: readonly Certificate[] = orThrow(
    () => certificatesOfPem(text),
    (error) => fail(`a PEM block is not a readable certificate: ${reasonOf(error)}`),
  );
  if (chain.length === 0) throw fail('it contains no PEM certificate');
  return chain.map(({ raw }) => raw);
}
