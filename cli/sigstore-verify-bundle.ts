import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { verifyArtifact } from '../trust/index.ts';
import type { Artifact } from '../trust/index.ts';
import { trustedRootOfInstance } from '../trust/sigstore/index.ts';
import { readInputFile } from './files/input-file.ts';
import { exitCodes, print, printNote, run, withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';

interface Flags {
  readonly bundle: string;
  readonly certificateIdentity?: string;
  readonly certificateOidcIssuer?: string;
  readonly key?: string;
  readonly trustedRoot?: string;
  readonly staging: boolean;
  readonly output: OutputFormat;
}

const examples = `
Examples:
  $ portcullis sigstore-verify-bundle --bundle app.sigstore.json --certificate-identity me@example.com \\
      --certificate-oidc-issuer https://accounts.example.com app.tar
  $ portcullis sigstore-verify-bundle --bundle app.sigstore.json --key cosign.pub --trusted-root root.json sha256:2cf2…

Exit status: 0 verified; 1 not verified; 2 wrong use; 4 failed.`;

/**
 * Speaks sigstore's client conformance protocol (sigstore/sigstore-conformance docs/cli_protocol.md,
 * "Verify", "Bundle flow").
 */
export function register(program: Command): void {
  const command: Command = program
    .command('sigstore-verify-bundle')
    .description("verify a file's sigstore bundle; speaks sigstore's client conformance protocol")
    .argument('<file-or-digest>', 'the file, or sha256:HEX')
    .requiredOption('--bundle <file>', 'the sigstore bundle')
    .option('--certificate-identity <identity>', 'exact identity that must have signed')
    .option('--certificate-oidc-issuer <url>', 'exact OIDC issuer of that identity')
    .option('--key <file>', 'PEM public key that must have signed, instead of an identity')
    .option('--trusted-root <file>', "trusted_root.json; default: sigstore's public good instance")
    .option('--staging', "use sigstore's staging instance", false)
    .addHelpText('after', examples);
  withOutput(command).action((artifact: string, flags: Flags) => {
    const signer = signerOf(flags);
    if (signer === undefined)
      command.error('error: name --certificate-identity and --certificate-oidc-issuer, or --key', {
        exitCode: exitCodes.usage,
      });
    return run(flags.output, () => verify(artifact, signer, flags));
  });
}

type SignerFlags = { readonly key: string } | { readonly identity: string; readonly issuer: string };

function signerOf({
  key,
  certificateIdentity: identity,
  certificateOidcIssuer: issuer,
}: Flags): SignerFlags | undefined {
  if (key !== undefined) return identity === undefined && issuer === undefined ? { key } : undefined;
  return identity === undefined || issuer === undefined ? undefined : { identity, issuer };
}

async function verify(name: string, signer: SignerFlags, flags: Flags): Promise<number> {
  const now = new Date();
  const finding = await verifyArtifact({
    bundle: await readInputFile(flags.bundle),
    artifact: await artifactOf(name),
    signer: 'key' in signer ? { key: (await readInputFile(signer.key)).toString() } : signer,
    trustedRoot:
      flags.trustedRoot === undefined
        ? await trustedRootOfInstance(flags.staging ? 'staging' : 'public-good', now)
        : await readInputFile(flags.trustedRoot),
    now,
  });
  if (finding.verified) {
    const by = finding.identity === undefined ? 'the key' : finding.identity.subjects.join(', ');
    print(flags.output, finding, `verified: signed by ${by}, at the latest at ${finding.signedAt}\n`);
    return exitCodes.yes;
  }
  if (flags.output !== 'text') print(flags.output, finding, '');
  else printNote(`not verified: ${finding.why} (${finding.code})\n`);
  return exitCodes.no;
}

/**
 * Reads the artifact argument. A digest has its prefix and length and is not an existing path (conformance
 * protocol).
 */
async function artifactOf(name: string): Promise<Artifact> {
  const match = /^sha256:([0-9a-fA-F]{64})$/.exec(name);
  return match === null || existsSync(name)
    ? { bytes: await readInputFile(name) }
    : { sha256: (match[1] as string).toLowerCase() };
}
