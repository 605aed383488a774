import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Command } from 'commander';
import { PortcullisError, failure, fileReason, isPortcullisError } from '../../base/errors/index.ts';
import { readGivenFile } from '../../base/files/index.ts';
import { writeFileAtomic } from '../../base/storage/index.ts';
import {
  bundleName,
  confirmSlot,
  findEntries,
  installUpdate,
  manifestName,
  mostManifestBytes,
  openUpdateSource,
  runningImage,
} from '../../node/index.ts';
import type { ImagePlaces, Installed } from '../../node/index.ts';
import { createCriClient } from '../../runtime/client.ts';
import { parsePublicKey, signFile, verifyFileSignature } from '../../trust/index.ts';
import type { PolicyKey } from '../../trust/index.ts';
import { parseDuration } from '../../trust/policy/index.ts';
import { requireRoot } from '../environment/require-root.ts';
import { socketPath, withSocket } from '../options/endpoint.ts';
import { collect } from '../options/registry-options.ts';
import { demandSigner, openSignerOf, signerHelp, withSigner } from '../options/signer-options.ts';
import type { SignerFlags } from '../options/signer-options.ts';
import { exitCodes, print, run, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';

interface PlaceFlags {
  readonly boot: string;
  readonly output: OutputFormat;
}
interface UpdateFlags extends PlaceFlags {
  readonly devices: string;
  readonly key?: readonly string[];
  readonly retry: boolean;
}
interface ConfirmFlags extends PlaceFlags {
  readonly socket: string;
  readonly timeout: string;
}

const defaultKey = '/etc/portcullis/node-image.pub';
const lockFolder = '/run/portcullis-node-image';
const askMs = 500;

/** `portcullis node image`: the image that this node booted, and its updates. */
export function registerImage(node: Command): void {
  const image = node
    .command('image')
    .description('the image that this node booted: show, update, confirm, sign');
  const withBoot = (command: Command): Command =>
    withOutput(command).option('--boot <dir>', 'the mounted EFI system partition', '/boot');
  withBoot(
    image.command('status').description('show which image runs, and which the boot loader may start'),
  ).action((flags: PlaceFlags) => run(flags.output, () => status(flags)));
  withBoot(image.command('update').description('verify an image, and write it to the slot that does not run'))
    .argument('<source>', 'folder, or URL of a folder, with the files of the image')
    .option(
      '--key <file>',
      `public key that must have signed; may be repeated (default: ${defaultKey})`,
      collect,
    )
    .option('--devices <dir>', 'folder with the devices of the slots', '/dev/node')
    .option('--retry', 'install a version again although its boot was not confirmed', false)
    .addHelpText('after', updateHelp)
    .action((source: string, flags: UpdateFlags) => run(flags.output, () => update(source, flags)));
  const confirming = withSocket(
    withBoot(
      image.command('confirm').description('wait until the daemon answers, and keep the image that runs'),
    ),
  ).option('--timeout <duration>', 'how long to wait', '5m');
  confirming.action((flags: ConfirmFlags) => {
    if (parseDuration(flags.timeout) === undefined)
      confirming.error(`error: ${JSON.stringify(flags.timeout)} is not a duration such as 30s or 10m`, {
        exitCode: exitCodes.usage,
      });
    return run(flags.output, () => confirm(flags));
  });
  const signing = withOutput(withSigner(image.command('sign').description('sign the manifest of an image')))
    .argument('<folder>', 'folder that `npm run node-image` wrote')
    .addHelpText(
      'after',
      `${signerHelp}\n\nExamples:\n  $ portcullis node image sign dist/node-image --key cosign.key`,
    );
  signing.action((folder: string, flags: SignerFlags & { readonly output: OutputFormat }) => {
    demandSigner(signing, flags);
    return run(flags.output, () => sign(folder, flags));
  });
}

const updateHelp = `
The update is written to the slot that does not run, and starts at the next boot, once. If that boot is not
confirmed, the boot after it starts the image that runs now.

Examples:
  $ portcullis node image update https://updates.example.com/node

Exit status: 0 the update is installed; 1 there is no newer version, or the signature does not count; 4 failed.`;

async function status({ boot, output }: PlaceFlags): Promise<number> {
  const running = await runningImage();
  const entries = findEntries(resolve(boot));
  const lines = entries.map(({ slot, triesLeft }) => `slot ${slot}: ${triesOf(triesLeft)}\n`);
  print(
    output,
    { running, entries },
    `${running.name} ${running.version} runs from slot ${running.slot}\n${lines.join('')}`,
  );
  return exitCodes.yes;
}

function triesOf(left: number | undefined): string {
  if (left === undefined) return 'can start';
  return left === 0 ? 'has no tries left' : `can start, with ${left} ${left === 1 ? 'try' : 'tries'}`;
}

async function update(source: string, flags: UpdateFlags): Promise<number> {
  requireRoot('update the node image', 'write to the disk');
  const running = await runningImage();
  const keys = await Promise.all((flags.key ?? [defaultKey]).map(readKey));
  const places: ImagePlaces = {
    boot: resolve(flags.boot),
    devices: resolve(flags.devices),
    lock: lockFolder,
  };
  const opened = openUpdateSource(source, new AbortController().signal);
  try {
    const done = await installUpdate({
      source: opened,
      ...{ places, running, again: flags.retry },
      verify: async (file, bundle) => {
        const found = await verifyFileSignature({ file, bundle, keys, now: new Date() });
        return found.verified ? undefined : found.why;
      },
    });
    const text = textOf(done, opened.name, running.version);
    print(flags.output, done, `${text}\n`);
    return done.installed ? exitCodes.yes : exitCodes.no;
  } finally {
    await opened.close();
  }
}

function textOf(done: Installed, source: string, running: number): string {
  const { version } = done;
  if (done.installed) return `version ${version} is in slot ${done.slot}, and starts at the next boot`;
  switch (done.because) {
    case 'current':
      return `version ${running} runs, and ${source} has version ${version}`;
    case 'newer':
      return `a newer update starts at the next boot, and ${source} has version ${version}`;
    case 'failed':
      return `version ${version} was tried, and its boot was not confirmed; add --retry to install it again`;
    case 'unconfirmed':
      return `version ${version} would replace the image that starts if version ${running}, which runs, does not work; wait until the boot is confirmed (portcullis node image confirm)`;
  }
}

async function readKey(file: string): Promise<PolicyKey> {
  let text: string;
  try {
    text = (await readGivenFile(file, 64 * 1024)).toString('utf8');
  } catch (thrown) {
    throw failure('NODE_IMAGE_KEY', 'invalid', 'read the public key', file, fileReason(thrown, file), keyFix);
  }
  const key = parsePublicKey(file, text);
  if ('problem' in key)
    throw failure('NODE_IMAGE_KEY', 'invalid', 'read the public key', file, key.problem, keyFix);
  return key;
}

const keyFix = 'name the public key of the signer with --key';

async function confirm(flags: ConfirmFlags): Promise<number> {
  requireRoot('confirm the node image', 'write to the EFI system partition');
  const running = await runningImage();
  await untilServed(resolve(socketPath(flags.socket)), (parseDuration(flags.timeout) ?? 0) * 1000);
  if (!(await confirmSlot(resolve(flags.boot), running.slot)))
    throw failure(
      'NODE_IMAGE_NO_ENTRY',
      'not-found',
      'confirm the node image',
      flags.boot,
      `slot ${running.slot} has no boot entry`,
      'mount the EFI system partition there, or name it with --boot',
    );
  print(
    flags.output,
    { running },
    `${running.name} ${running.version} in slot ${running.slot} is confirmed\n`,
  );
  return exitCodes.yes;
}

/** Waits until a daemon answers that its runtime is ready. */
async function untilServed(socket: string, timeoutMs: number): Promise<void> {
  const end = performance.now() + timeoutMs;
  for (let why = 'it has not answered'; ; await pause(askMs)) {
    const left = end - performance.now();
    if (left <= 0)
      throw failure(
        'NODE_IMAGE_UNHEALTHY',
        'deadline',
        'confirm the node image',
        socket,
        `the daemon was not ready in ${timeoutMs / 1000} s: ${why}`,
        'see the log of the daemon',
      );
    const client = createCriClient(socket);
    try {
      const { status: state } = await client.runtime.status({}, { timeoutMs: left });
      const ready = state?.conditions.find(({ type }) => type === 'RuntimeReady');
      if (ready?.status === true) return;
      why = ready?.message ?? 'its runtime is not ready';
    } catch (thrown) {
      if (!isPortcullisError(thrown)) throw thrown;
      why = thrown.message;
    } finally {
      client.close();
    }
  }
}

async function sign(folder: string, flags: SignerFlags & { readonly output: OutputFormat }): Promise<number> {
  const manifest = join(resolve(folder), manifestName);
  const signer = await openSignerOf(flags);
  try {
    const bundle = await signFile(await readGivenFile(manifest, mostManifestBytes), signer);
    const file = join(resolve(folder), bundleName);
    await writeFileAtomic(file, bundle, { mode: 0o644 });
    print(flags.output, { file }, `${file} written\n`);
    return exitCodes.yes;
  } catch (thrown) {
    if (thrown instanceof PortcullisError) throw thrown;
    throw failure(
      'NODE_IMAGE_UNREADABLE',
      'invalid',
      'sign the node image in',
      folder,
      fileReason(thrown, manifest),
      'name the folder that `npm run node-image` wrote',
    );
  } finally {
    await signer.close();
  }
}
