import { Option } from 'commander';
import type { Command } from 'commander';
import { generateKeyPair, loadSigningKey, openRegistries, processPassphrase, signReference } from '../trust/index.ts';
import type { SignatureFormat } from '../trust/index.ts';
import { exitCodes, print, run, withOutput } from './output.ts';
import type { OutputFormat } from './output.ts';
import { withRegistries } from './registry-options.ts';
import type { RegistryFlags } from './registry-options.ts';

interface SignFlags extends RegistryFlags {
  readonly key?: string;
  readonly generateKey?: string;
  readonly passphraseFile?: string;
  readonly format: SignatureFormat;
  readonly recursive: boolean;
  readonly output: OutputFormat;
}

const examples = `
Examples:
  $ portcullis sign --generate-key cosign                          makes cosign.key and cosign.pub
  $ portcullis sign registry.example.com/team/app:1 --key cosign.key
  $ portcullis sign 127.0.0.1:5000/app:1 --key cosign.key --format legacy
  $ portcullis sign 127.0.0.1:5000/app:1 --key cosign.key --recursive   also each platform's manifest

The passphrase of an encrypted key is taken from PORTCULLIS_PASSPHRASE or COSIGN_PASSWORD, from --passphrase-file, or asked for.
What is signed here, "cosign verify --key cosign.pub --insecure-ignore-tlog=true" accepts.`;

export function register(program: Command): void {
  const command = program
    .command('sign')
    .description('sign an image with a key, as cosign does, or make such a key')
    .argument('[image]', 'reference of the image')
    .option('--key <file>', "private key: cosign's encrypted file, or PEM")
    .option('--generate-key <prefix>', 'make PREFIX.key and PREFIX.pub instead of signing')
    .option('--passphrase-file <file>', 'file whose first line is the passphrase')
    .addOption(
      new Option('--format <format>', 'bundle: a referrer; legacy: the tag sha256-….sig').choices(['bundle', 'legacy']).default('bundle'),
    )
    .option('--recursive', 'sign every manifest of an index too', false)
    .addHelpText('after', examples);
  withOutput(withRegistries(command)).action((image: string | undefined, flags: SignFlags) => {
    if (flags.generateKey !== undefined && image === undefined && flags.key === undefined)
      return run(flags.output, () => makeKey(flags.generateKey ?? '', flags));
    const { key } = flags;
    if (image !== undefined && key !== undefined && flags.generateKey === undefined)
      return run(flags.output, () => sign(image, key, flags));
    return command.error('error: name an image and --key FILE, or --generate-key PREFIX alone', { exitCode: exitCodes.usage });
  });
}

async function makeKey(prefix: string, flags: SignFlags): Promise<number> {
  const files = await generateKeyPair(prefix, processPassphrase(flags.passphraseFile));
  print(flags.output, files, `private key ${files.privateFile}\npublic key  ${files.publicFile}\n`);
  return exitCodes.yes;
}

async function sign(reference: string, keyFile: string, flags: SignFlags): Promise<number> {
  const key = await loadSigningKey(keyFile, processPassphrase(flags.passphraseFile));
  const registry = await openRegistries({ mirrors: flags.registryMirror, insecureHosts: flags.insecureRegistry });
  try {
    const signed = await signReference({ reference, key, format: flags.format, recursive: flags.recursive, registry, now: new Date() });
    print(
      flags.output,
      { reference, signed },
      signed.map((one) => `signed ${one.digest} (${one.format}, ${one.via}): ${one.manifestDigest}\n`).join(''),
    );
    return exitCodes.yes;
  } finally {
    await registry.close();
  }
}
