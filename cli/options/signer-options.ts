import { Option } from 'commander';
import type { Command } from 'commander';
import { openSigner, processPassphrase } from '../../trust/index.ts';
import type { Signer } from '../../trust/index.ts';
import { exitCodes } from '../output/output.ts';
import { collect } from './registry-options.ts';

export interface SignerFlags {
  readonly key?: string;
  readonly keyless: boolean;
  readonly passphraseFile?: string;
  /** Only `sign` has this option: the forms of cosign and in-toto have no place for it with a key. */
  readonly certificateChain?: string;
  readonly identityTokenFile?: string;
  readonly identityTokenEnv?: string;
  readonly signingConfig?: string;
  readonly fulcioUrl?: string;
  readonly rekorUrl?: string;
  readonly rekorVersion: '1' | '2';
  readonly timestampUrl: readonly string[];
}

/** Help text on signers, for every command that signs. */
export const signerHelp = `
The passphrase of an encrypted key is read from --passphrase-file, from PORTCULLIS_PASSPHRASE or from COSIGN_PASSWORD, or asked for.
The PIN of a token is read from the file that the URI's pin-source names, or asked for. Without a key (--keyless), the OIDC token of
GitHub Actions, GitLab (id_tokens: SIGSTORE_ID_TOKEN) or Buildkite identifies the signer, or a token in a file or variable.`;

/** Adds the options that select the signer. */
export function withSigner(command: Command): Command {
  return (
    command
      .option(
        '--key <file|uri>',
        "private key: cosign's encrypted file, PEM, or pkcs11:token=…;object=…?module-path=…&pin-source=…",
      )
      .option('--keyless', 'sign as the identity in an OIDC token, with a short-lived certificate', false)
      .option('--passphrase-file <file>', 'file whose first line is the passphrase')
      .option('--identity-token-file <file>', 'file that holds the OIDC token')
      .option('--identity-token-env <name>', 'environment variable that holds the OIDC token')
      .option(
        '--signing-config <file>',
        'signing_config.json with the services to use, or "public-good" for sigstore’s public ones',
      )
      .option('--fulcio-url <url>', 'certificate authority for identities')
      .option('--rekor-url <url>', 'transparency log that records the signature')
      .addOption(
        new Option('--rekor-version <version>', 'version of the API of --rekor-url')
          .choices(['1', '2'])
          .default('1'),
      )
      .option('--timestamp-url <url>', 'time stamp authority; may be repeated', collect, [])
      // Commands for cosign have it. No question is asked here.
      .addOption(new Option('-y, --yes').hideHelp())
  );
}

/** Ends the command with the exit code for wrong use unless exactly one signer is named. */
export function demandSigner(command: Command, flags: SignerFlags): void {
  if ((flags.key === undefined) !== flags.keyless)
    command.error('error: name --key FILE (or a pkcs11: URI), or --keyless', { exitCode: exitCodes.usage });
}

export function openSignerOf(flags: SignerFlags): Promise<Signer> {
  const optional = <K extends string, V>(name: K, value: V | undefined): { readonly [P in K]?: V } =>
    value === undefined ? {} : ({ [name]: value } as { readonly [P in K]: V });
  return openSigner({
    ...optional('key', flags.key),
    passphrase: processPassphrase(flags.passphraseFile),
    ...optional('certificateChain', flags.certificateChain),
    identityToken: {
      ...optional('file', flags.identityTokenFile),
      ...optional('variable', flags.identityTokenEnv),
    },
    ...optional('signingConfig', flags.signingConfig),
    ...optional('fulcioUrl', flags.fulcioUrl),
    ...optional(
      'log',
      flags.rekorUrl === undefined
        ? undefined
        : { url: flags.rekorUrl, version: flags.rekorVersion === '2' ? (2 as const) : (1 as const) },
    ),
    timestampUrls: flags.timestampUrl,
    now: new Date(),
  });
}
