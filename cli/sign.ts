import type { Command } from 'commander';
import { Option } from 'commander';
import {
  generateKeyPair,
  generatedKeyTypes,
  openRegistries,
  processPassphrase,
  signReference,
  signatureFormats,
} from '../trust/index.ts';
import type { GeneratedKeyType, SignatureFormat } from '../trust/index.ts';
import { parseDuration } from '../trust/policy/index.ts';
import { exitCodes, print, run, withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';
import { withRegistries } from './options/registry-options.ts';
import type { RegistryFlags } from './options/registry-options.ts';
import { demandSigner, openSignerOf, signerHelp, withSigner } from './options/signer-options.ts';
import type { SignerFlags } from './options/signer-options.ts';

interface SignFlags extends RegistryFlags, SignerFlags {
  readonly generateKey?: string;
  readonly keyType?: GeneratedKeyType;
  readonly format?: readonly SignatureFormat[];
  readonly recursive: boolean;
  readonly identity?: string;
  readonly annotation: Readonly<Record<string, string>>;
  readonly expiry?: number;
  readonly output: OutputFormat;
}

const examples = `
Examples:
  $ portcullis sign --generate-key cosign                          makes cosign.key and cosign.pub
  $ portcullis sign registry.example.com/team/app:1 --key cosign.key
  $ portcullis sign registry.example.com/team/app:1 --key cosign.key --recursive       also each platform's manifest
  $ portcullis sign registry.example.com/team/app:1 --key leaf.key --certificate-chain chain.pem --format bundle --format notation-jws --expiry 365d
  $ portcullis sign registry.example.com/team/app:1 --key 'pkcs11:token=release;object=images?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/secrets/pin'
  $ portcullis sign registry.example.com/team/app:1 --keyless --signing-config signing_config.json
${signerHelp}
"cosign verify --key cosign.pub --insecure-ignore-tlog=true" and "notation verify" accept these signatures.`;

export function register(program: Command): void {
  const command = program
    .command('sign')
    .description('sign an image with a key, a token or an identity, as cosign and notation do, or make a key')
    .argument('[image]', 'reference of the image')
    .option('--generate-key <prefix>', 'make PREFIX.key and PREFIX.pub instead of signing')
    .addOption(
      new Option(
        '--key-type <type>',
        'with --generate-key: ecdsa-p256 (default), or ml-dsa-44, ml-dsa-65, ml-dsa-87 (post-quantum; cosign cannot use them)',
      ).choices(generatedKeyTypes),
    )
    .addOption(
      new Option(
        '--format <format>',
        'bundle (default): as a referrer; legacy: as the tag sha256-….sig; notation-jws, notation-cose; may be repeated',
      )
        .choices(signatureFormats)
        .argParser((value: string, before: readonly string[] | undefined) => [
          ...(before ?? []),
          chosenFormat(value),
        ]),
    )
    .option('-r, --recursive', 'sign every manifest of an index too', false)
    .option('-a, --annotation <name=value>', 'sign this with the digest; may be repeated', annotation, {})
    .option(
      '--identity <name>',
      'the name that the signature claims (format legacy); default: the reference without its tag',
    )
    .option(
      '--certificate-chain <file>',
      'PEM certificates of the key, that of the key first (notation formats)',
    )
    .option('--expiry <duration>', 'validity of the signature, such as 90d or 24h (notation formats)', expiry)
    .addHelpText('after', examples);
  const chosenFormat = (value: string): string =>
    (signatureFormats as readonly string[]).includes(value)
      ? value
      : command.error(
          `error: option '--format <format>' argument '${value}' is invalid. Allowed choices are ${signatureFormats.join(', ')}.`,
          {
            exitCode: exitCodes.usage,
          },
        );
  withOutput(withRegistries(withSigner(command))).action((image: string | undefined, flags: SignFlags) => {
    if (flags.generateKey !== undefined && image === undefined && flags.key === undefined && !flags.keyless)
      return run(flags.output, () => makeKey(flags.generateKey ?? '', flags));
    if (flags.keyType !== undefined)
      return command.error('error: --key-type goes with --generate-key PREFIX alone', {
        exitCode: exitCodes.usage,
      });
    if (image === undefined || flags.generateKey !== undefined)
      return command.error('error: name an image and --key FILE, or --generate-key PREFIX alone', {
        exitCode: exitCodes.usage,
      });
    demandSigner(command, flags);
    const notation = flags.format?.some((format) => format.startsWith('notation-')) === true;
    if (flags.certificateChain !== undefined && (flags.keyless || !notation))
      return command.error(
        'error: --certificate-chain goes with --key and --format notation-jws or notation-cose',
        { exitCode: exitCodes.usage },
      );
    return run(flags.output, () => sign(image, flags));
  });

  function expiry(text: string): number {
    const seconds = parseDuration(text);
    return seconds === undefined
      ? command.error(`error: --expiry ${text}: write a duration such as 90d, 24h or 30m`, {
          exitCode: exitCodes.usage,
        })
      : seconds;
  }

  function annotation(
    text: string,
    before: Readonly<Record<string, string>>,
  ): Readonly<Record<string, string>> {
    const [, name, value] = /^([^=\s]+)=(.*)$/s.exec(text) ?? [];
    if (name === undefined || value === undefined)
      return command.error(`error: --annotation ${text}: write NAME=VALUE`, { exitCode: exitCodes.usage });
    return { ...before, [name]: value };
  }
}

async function makeKey(prefix: string, flags: SignFlags): Promise<number> {
  const files = await generateKeyPair(prefix, processPassphrase(flags.passphraseFile), flags.keyType);
  print(flags.output, files, `private key ${files.privateFile}\npublic key  ${files.publicFile}\n`);
  return exitCodes.yes;
}

async function sign(reference: string, flags: SignFlags): Promise<number> {
  const now = new Date();
  const signer = await openSignerOf(flags);
  try {
    const registry = await openRegistries({
      mirrors: flags.registryMirror,
      insecureHosts: flags.insecureRegistry,
    });
    try {
      const signed = await signReference({
        reference,
        key: signer,
        format: flags.format ?? ['bundle'],
        recursive: flags.recursive,
        ...(flags.identity === undefined ? {} : { identity: flags.identity }),
        annotations: flags.annotation,
        ...(flags.expiry === undefined ? {} : { expiry: new Date(now.getTime() + flags.expiry * 1000) }),
        registry,
        now,
      });
      print(
        flags.output,
        { reference, signed },
        signed
          .map((one) => `signed ${one.digest} (${one.format}, ${one.via}): ${one.manifestDigest}\n`)
          .join(''),
      );
      return exitCodes.yes;
    } finally {
      await registry.close();
    }
  } finally {
    await signer.close();
  }
}
