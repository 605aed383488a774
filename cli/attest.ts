import { Option } from 'commander';
import type { Command } from 'commander';
import { loadProfiles } from '../entitlements/index.ts';
import { attestReference, loadSigningKey, openRegistries, processPassphrase, readPredicate } from '../trust/index.ts';
import type { AttestationFormat } from '../trust/index.ts';
import { exitCodes, print, run, withOutput } from './output.ts';
import type { OutputFormat } from './output.ts';
import { withRegistries } from './registry-options.ts';
import type { RegistryFlags } from './registry-options.ts';

interface AttestFlags extends RegistryFlags {
  readonly key: string;
  readonly predicate: string;
  readonly type: string;
  readonly passphraseFile?: string;
  readonly format: AttestationFormat;
  readonly output: OutputFormat;
}

const examples = `
Examples:
  $ portcullis attest registry.example.com/team/app:1 --type slsaprovenance1 --predicate provenance.json --key cosign.key
  $ portcullis attest registry.example.com/team/app:1 --type entitlements --predicate profile.yaml --key cosign.key
  $ portcullis attest 127.0.0.1:5000/app:1 --type https://example.com/review/v1 --predicate review.json --key cosign.key --format legacy

Types: a URI, or slsaprovenance, slsaprovenance02, slsaprovenance1, link, spdx, spdxjson, cyclonedx, vuln, openvex, vsa, custom,
entitlements (what the image needs: a profile, which the cluster then holds its containers within).
What is attested here, "cosign verify-attestation --key cosign.pub --type TYPE --insecure-ignore-tlog=true" accepts.`;

export function register(program: Command): void {
  const command = program
    .command('attest')
    .description('sign a statement about an image: where it comes from, what is in it, what it needs')
    .argument('<image>', 'reference of the image')
    .requiredOption('--predicate <file>', 'what is attested: JSON')
    .requiredOption('--type <type>', 'type of the predicate')
    .requiredOption('--key <file>', "private key: cosign's encrypted file, or PEM")
    .option('--passphrase-file <file>', 'file whose first line is the passphrase')
    .addOption(
      new Option('--format <format>', 'bundle: a referrer; legacy: the tag sha256-….att').choices(['bundle', 'legacy']).default('bundle'),
    )
    .addHelpText('after', examples);
  withOutput(withRegistries(command)).action((image: string, flags: AttestFlags) => run(flags.output, () => attest(image, flags)));
}

async function attest(reference: string, flags: AttestFlags): Promise<number> {
  const { type, format } = flags;
  const now = new Date();
  const predicate = await readPredicate(flags.predicate, type, now);
  // Nobody could run what is signed with a profile that can not be read.
  if (type === 'entitlements') await loadProfiles({ paths: [flags.predicate] });
  const key = await loadSigningKey(flags.key, processPassphrase(flags.passphraseFile));
  const registry = await openRegistries({ mirrors: flags.registryMirror, insecureHosts: flags.insecureRegistry });
  try {
    const attested = await attestReference({ reference, key, type, predicate, format, registry, now });
    const { digest, predicateType, via, manifestDigest } = attested;
    print(flags.output, { reference, attested }, `attested ${digest} as ${predicateType} (${format}, ${via}): ${manifestDigest}\n`);
    return exitCodes.yes;
  } finally {
    await registry.close();
  }
}
