import { createHash } from 'node:crypto';
import { parseJson } from '../../base/json/index.ts';
import type { Command } from 'commander';
import { asPortcullisError } from '../../base/errors/index.ts';
import { readInputFile } from '../files/input-file.ts';
import { exitCodes, print } from '../output/output.ts';
import { table } from '../output/table.ts';
import { ownerHelp, performOwner, withOwner, withUnsignedOwner } from '../options/owner-options.ts';
import type { OwnerFlags } from '../options/owner-options.ts';
import { withWide } from '../output/terminal.ts';

interface AddFlags extends OwnerFlags {
  readonly role: string;
  readonly image?: string;
  readonly digest?: string;
  readonly length?: string;
  readonly custom?: string;
}

const addExamples = `
Examples:
  $ portcullis trust add registry.example.com/pay/app 1.0 --image registry.example.com/pay/app:1.0
  $ portcullis trust add registry.example.com/pay/app 1.0 --digest sha256:4bc453b5… --length 1024 --role targets/releases
  $ portcullis trust add pay tools/pay.tar ./pay.tar
${ownerHelp}`;

export function registerTargets(trust: Command): void {
  const add = trust
    .command('add')
    .description('stage a target: what a name refers to from the next publish on')
    .argument('<name>', 'name of the collection')
    .argument('<target>', 'the tag, or the path of a file')
    .argument('[file]', 'file to sign')
    .option('--role <role>', 'role that signs it', 'targets')
    .option('--image <reference>', 'sign the digest that this image has now')
    .option('--digest <digest>', 'sign this digest; needs --length')
    .option('--length <bytes>', 'size of the manifest or file')
    .option('--custom <file>', 'JSON file to sign with it')
    .addHelpText('after', addExamples);
  withOwner(add).action((name: string, target: string, file: string | undefined, flags: AddFlags) => {
    if ([file, flags.image, flags.digest].filter((one) => one !== undefined).length !== 1)
      return add.error('error: name one of FILE, --image REFERENCE or --digest DIGEST', {
        exitCode: exitCodes.usage,
      });
    const [, digest] = /^sha256:([0-9a-f]{64})$/u.exec(flags.digest ?? '') ?? [];
    if (flags.digest !== undefined && (digest === undefined || !/^\d{1,15}$/u.test(flags.length ?? '')))
      return add.error('error: write --digest sha256:HEX --length BYTES', { exitCode: exitCodes.usage });
    return performOwner(name, flags, async (owner) => {
      const custom = flags.custom === undefined ? undefined : await readJson(flags.custom);
      const meant =
        file !== undefined
          ? await fileTarget(file)
          : digest === undefined
            ? await owner.imageTarget(flags.image ?? '')
            : { length: Number(flags.length), hashes: { sha256: digest } };
      await owner.stage({
        kind: 'add',
        role: flags.role,
        path: target,
        file: { length: meant.length, hashes: meant.hashes, custom },
      });
      print(
        flags.output,
        { name, target, role: flags.role, length: meant.length, hashes: meant.hashes },
        `staged ${target} = sha256:${meant.hashes['sha256'] ?? ''} (${meant.length} bytes) in ${flags.role}\n`,
      );
      return exitCodes.yes;
    });
  });

  const remove = trust
    .command('remove')
    .description('stage the removal of a target')
    .argument('<name>', 'name of the collection')
    .argument('<target>', 'the tag, or the path of a file')
    .option('--role <role>', 'role that signed it', 'targets')
    .addHelpText('after', `\nExamples:\n  $ portcullis trust remove registry.example.com/pay/app 0.9\n`);
  withOwner(remove).action((name: string, target: string, flags: AddFlags) =>
    performOwner(name, flags, async (owner) => {
      await owner.stage({ kind: 'remove', role: flags.role, path: target });
      print(
        flags.output,
        { name, target, role: flags.role },
        `staged the removal of ${target} in ${flags.role}\n`,
      );
      return exitCodes.yes;
    }),
  );

  const list = trust
    .command('list')
    .description('list the targets of a collection, as they are after the next publish')
    .argument('<name>', 'name of the collection')
    .addHelpText('after', `\nExamples:\n  $ portcullis trust list registry.example.com/pay/app\n`);
  withUnsignedOwner(withWide(list)).action((name: string, flags: OwnerFlags) =>
    performOwner(name, flags, async (owner) => {
      const targets = await owner.targets();
      const staged = new Set(
        (await owner.staged()).flatMap((change) =>
          change.kind === 'add' ? [`${change.role}\n${change.path}`] : [],
        ),
      );
      const rows = targets.map(({ path, role, length, hashes, custom }) => ({
        target: path,
        role,
        digest: `sha256:${hashes['sha256'] ?? ''}`,
        length,
        staged: staged.has(`${role}\n${path}`),
        ...(custom === undefined ? {} : { custom }),
      }));
      const text = rows.map((row) => [
        row.target,
        row.digest,
        String(row.length),
        row.role,
        row.staged ? 'staged' : '',
      ]);
      print(flags.output, rows, table(['TARGET', 'DIGEST', 'BYTES', 'ROLE', ''], text));
      return exitCodes.yes;
    }),
  );
}

async function readJson(file: string): Promise<unknown> {
  const bytes = await readInputFile(file);
  try {
    return parseJson(bytes.toString('utf8'));
  } catch (thrown) {
    throw asPortcullisError(thrown, {
      code: 'CLI_FILE_UNREADABLE',
      kind: 'invalid',
      attempted: 'read custom data of the target',
      on: file,
      fix: 'name a file of JSON',
    });
  }
}

async function fileTarget(file: string): Promise<{ length: number; hashes: Record<string, string> }> {
  const bytes = await readInputFile(file);
  const hash = (algorithm: string): string => createHash(algorithm).update(bytes).digest('hex');
  return { length: bytes.length, hashes: { sha256: hash('sha256'), sha512: hash('sha512') } };
}
