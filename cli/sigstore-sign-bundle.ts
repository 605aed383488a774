import type { Command } from 'commander';
import { signArtifact } from '../trust/index.ts';
import { signingConfigOfInstance } from '../trust/sigstore/index.ts';
import { readInputFile } from './files/input-file.ts';
import { prepareReport, writeReport } from './files/report-file.ts';
import { exitCodes, print, run, withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';

interface Flags {
  readonly bundle: string;
  readonly identityToken: string;
  readonly inToto: boolean;
  readonly signingConfig?: string;
  readonly trustedRoot?: string;
  readonly staging: boolean;
  readonly output: OutputFormat;
}

const examples = `
Examples:
  $ portcullis sigstore-sign-bundle --identity-token "$TOKEN" --bundle app.sigstore.json app.tar
  $ portcullis sigstore-sign-bundle --in-toto --identity-token "$TOKEN" --bundle app.sigstore.json \\
      --signing-config signing_config.json statement.json

The protocol requires the token on the command line; \`portcullis sign\` takes it from the environment.

Exit status: 0 signed; 2 wrong use; 4 failed.`;

/**
 * Speaks sigstore's client conformance protocol (sigstore/sigstore-conformance docs/cli_protocol.md, "Sign",
 * "Bundle flow").
 */
export function register(program: Command): void {
  const command = program
    .command('sigstore-sign-bundle')
    .description("sign a file with an OIDC identity; speaks sigstore's client conformance protocol")
    .argument('<file>', 'the file; with --in-toto, the statement')
    .requiredOption('--identity-token <token>', 'OIDC identity token')
    .requiredOption('--bundle <file>', 'where to write the sigstore bundle')
    .option('--in-toto', 'sign an in-toto statement in a DSSE envelope', false)
    .option('--trusted-root <file>', 'accepted for the protocol, and ignored: signing needs no root')
    .option('--signing-config <file>', "signing_config.json; default: sigstore's public good instance")
    .option('--staging', "use sigstore's staging instance", false)
    .addHelpText('after', examples);
  withOutput(command).action((file: string, flags: Flags) => run(flags.output, () => sign(file, flags)));
}

async function sign(file: string, flags: Flags): Promise<number> {
  const now = new Date();
  // A signature that cannot be written is in the log all the same.
  const path = await prepareReport(flags.bundle);
  const bundle = await signArtifact({
    artifact: await readInputFile(file),
    inToto: flags.inToto,
    identityToken: flags.identityToken,
    signingConfig:
      flags.signingConfig === undefined
        ? await signingConfigOfInstance(flags.staging ? 'staging' : 'public-good', now)
        : await readInputFile(flags.signingConfig),
    now,
  });
  await writeReport(path, bundle);
  print(flags.output, { bundle: flags.bundle }, `wrote ${flags.bundle}\n`);
  return exitCodes.yes;
}
