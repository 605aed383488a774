import { Option } from 'commander';
import type { Command } from 'commander';
import { PortcullisError, isPortcullisError } from '../base/errors/index.ts';
import {
  attestReference,
  isEntitlementsType,
  maximumPredicateBytes,
  openRegistries,
  predicateShortNames,
  readPredicate,
} from '../trust/index.ts';
import type { AttestationFormat, Signer } from '../trust/index.ts';
import { readStandardInput } from './files/input-file.ts';
import { exitCodes, print, run, withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';
import { withRegistries } from './options/registry-options.ts';
import type { RegistryFlags } from './options/registry-options.ts';
import { demandSigner, openSignerOf, signerHelp, withSigner } from './options/signer-options.ts';
import type { SignerFlags } from './options/signer-options.ts';

interface AttestFlags extends RegistryFlags, SignerFlags {
  readonly predicate?: string;
  readonly type: string;
  readonly format: AttestationFormat;
  readonly output: OutputFormat;
}

const chunkIndex = 'chunk-index';

const examples = `
Examples:
  $ portcullis attest registry.example.com/team/app:1 --type slsaprovenance1 --predicate provenance.json --key cosign.key
  $ portcullis attest registry.example.com/team/app:1 --type entitlements --predicate profile.yaml --key cosign.key
  $ portcullis attest registry.example.com/team/app:1 --type vsa --predicate vsa.json --keyless --signing-config signing_config.json
  $ portcullis attest registry.example.com/team/app:1 --type chunk-index --key cosign.key
  $ syft -o spdx-json registry.example.com/team/app:1 | portcullis attest registry.example.com/team/app:1 --type spdxjson --predicate - --key cosign.key
  $ portcullis attest 127.0.0.1:5000/app:1 --type https://example.com/review/v1 --predicate review.json --key cosign.key --format legacy

Types: a URI, or slsaprovenance, slsaprovenance02, slsaprovenance1, link, spdx, spdxjson, cyclonedx, vuln,
openvex, vsa, custom, entitlements (a profile of what the image needs; nodes then confine the containers of
the image to this profile), chunk-index (which part of a layer's blob contains which part of a file: a node
can start the image before it has all layers).
${signerHelp}
"cosign verify-attestation --key cosign.pub --type TYPE --insecure-ignore-tlog=true" accepts these attestations.`;

export function register(program: Command): void {
  const command = program
    .command('attest')
    .description('sign a statement about an image: where it comes from, what is in it, what it needs')
    .argument('<image>', 'reference of the image')
    .option(
      '--predicate <file>',
      'file of the predicate, or - for standard input; leave out for chunk-index, whose predicate the command makes',
    )
    .requiredOption(
      '--type <type>',
      `type of the predicate: a URI, or one of ${predicateShortNames.join(', ')}`,
    )
    .addOption(
      new Option('--format <format>', 'bundle: a referrer; legacy: the tag sha256-….att')
        .choices(['bundle', 'legacy'])
        .default('bundle'),
    )
    .addHelpText('after', examples);
  withOutput(withRegistries(withSigner(command))).action((image: string, flags: AttestFlags) => {
    demandSigner(command, flags);
    if ((flags.predicate === undefined) !== (flags.type === chunkIndex))
      command.error(
        flags.predicate === undefined
          ? "error: required option '--predicate <file>' not specified"
          : `error: --type ${chunkIndex} makes its own predicate: leave out --predicate`,
      );
    if (flags.predicate === '-' && isEntitlementsType(flags.type))
      command.error('error: --type entitlements needs a file: name it by --predicate FILE');
    return run(flags.output, () => attest(image, flags));
  });
}

async function attest(reference: string, flags: AttestFlags): Promise<number> {
  const { type } = flags;
  const now = new Date();
  const { predicate: file } = flags;
  if (file === undefined) return attestChunks(reference, flags, now);
  const given = file === '-' ? await readStandardInput(maximumPredicateBytes) : undefined;
  const predicate = await readPredicate(file, type, now, given);
  if (isEntitlementsType(type)) await refuseUnreadable(file, predicate);
  const signer = await openSignerOf(flags);
  try {
    return await push(reference, { signer, predicate, now }, flags);
  } finally {
    await signer.close();
  }
}

/** No runtime could run an image that is signed with a profile that it cannot read. */
async function refuseUnreadable(file: string, predicate: unknown): Promise<void> {
  const { loadProfiles, publisherCeiling } = await import('../entitlements/index.ts');
  // Reports problems with their places in the file. It accepts documents of other kinds.
  await loadProfiles({ paths: [file] });
  try {
    publisherCeiling([{ profile: predicate, attestation: file }]);
  } catch (thrown) {
    if (!isPortcullisError(thrown)) throw thrown;
    throw new PortcullisError({
      code: thrown.code,
      kind: 'invalid',
      attempted: 'sign the entitlements',
      on: file,
      why: thrown.failure.why,
      fix: 'name a file with one complete document of kind EntitlementProfile',
      cause: thrown,
    });
  }
}

/** Makes and pushes the index, then signs a statement with its digest. */
async function attestChunks(reference: string, flags: AttestFlags, now: Date): Promise<number> {
  const { makeChunkIndexOf } = await import('../runtime/index.ts');
  const registry = await openRegistries({
    mirrors: flags.registryMirror,
    insecureHosts: flags.insecureRegistry,
  });
  const signer = await openSignerOf(flags);
  try {
    const { name, predicate } = await makeChunkIndexOf(reference, registry);
    // Sign the digest that was indexed, even if the tag has been moved since then.
    return await push(name, { signer, predicate, now }, flags);
  } finally {
    await signer.close();
    await registry.close();
  }
}

async function push(
  reference: string,
  { signer, predicate, now }: { readonly signer: Signer; readonly predicate: unknown; readonly now: Date },
  { type, format, output, registryMirror, insecureRegistry }: AttestFlags,
): Promise<number> {
  const registry = await openRegistries({ mirrors: registryMirror, insecureHosts: insecureRegistry });
  try {
    const attested = await attestReference({
      reference,
      key: signer,
      type,
      predicate,
      format,
      registry,
      now,
    });
    const { digest, predicateType, via, manifestDigest } = attested;
    print(
      output,
      { reference, attested },
      `attested ${digest} as ${predicateType} (${format}, ${via}): ${manifestDigest}\n`,
    );
    return exitCodes.yes;
  } finally {
    await registry.close();
  }
}
