import type { Command } from 'commander';
import { errorToJson, isPortcullisError } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import { askAdmin, withAdminSocket } from '../options/admin-socket.ts';
import type { AdminFlags } from '../options/admin-socket.ts';
import { exitCodes, print, run, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';
import { withProgress } from '../output/progress.ts';
import { size } from '../output/size.ts';
import { shortId, table } from '../output/table.ts';

interface UpkeepFlags extends AdminFlags {
  readonly output: OutputFormat;
}

interface PruneFlags extends UpkeepFlags {
  readonly all?: boolean;
  readonly dryRun?: boolean;
}

/** A layer of many gigabytes, on a busy machine. */
const layerMs = 6 * 3_600_000;

/** `portcullis images prune`, `images check` and `images repair`: the store of the daemon. */
export function registerUpkeep(images: Command): void {
  withAdminSocket(withOutput(images.command('prune')))
    .description(
      'remove images that no container uses and that have lost their names, because a tag was moved',
    )
    .option('-a, --all', 'also remove unused images that have names')
    .option('--dry-run', 'list the images, and remove nothing')
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis images prune --all --dry-run\n  $ portcullis images prune\n',
    )
    .action((flags: PruneFlags) => run(flags.output, () => prune(flags)));

  withAdminSocket(withOutput(images.command('check')))
    .description(
      'compare the stored files of images with what was verified; exits 1 when something is damaged',
    )
    .argument('[image]', 'name, digest, id or the beginning of one; by default all images')
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis images check\n  $ portcullis images check registry.example.com/app:1 --output json\n\nThe check runs at low priority, and pulls go on. Ctrl-C ends it after the current layer. A damaged layer is restored before it is used again.\n',
    )
    .action((image: string | undefined, flags: UpkeepFlags) => run(flags.output, () => check(image, flags)));

  withAdminSocket(withOutput(images.command('repair')))
    .description(
      'restore damaged files of images, from the stored layers or from the registry; exits 1 when something cannot be restored',
    )
    .argument('[image]', 'name, digest, id or the beginning of one; by default all images')
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis images repair\n  $ portcullis images repair registry.example.com/app:1\n\nThe daemon asks the registry without the credentials of users. Containers that run keep the files that they have: restart them.\n',
    )
    .action((image: string | undefined, flags: UpkeepFlags) => run(flags.output, () => repair(image, flags)));
}

async function prune(flags: PruneFlags): Promise<number> {
  const { all = false, dryRun = false, output } = flags;
  const { removed } = await askAdmin(flags, 'images/prune', { all, dryRun });
  const bytes = removed.reduce((sum, image) => sum + image.size, 0);
  const rows = removed.map((image) => [image.names[0] ?? '', shortId(image.id), size(image.size)]);
  const head = `${dryRun ? 'to remove' : 'removed'}: ${removed.length} images, ${size(bytes)} of compressed layers\n`;
  print(
    output,
    { removed, bytes, dryRun },
    removed.length === 0 ? 'no unused images\n' : `${table(['IMAGE', 'ID', 'SIZE'], rows)}${head}`,
  );
  return exitCodes.yes;
}

type Layer = Awaited<ReturnType<typeof layersOf>>['layers'][number];

const layersOf = (image: string | undefined, flags: UpkeepFlags) =>
  askAdmin(flags, 'images/layers', image === undefined ? {} : { image });

/**
 * Calls `act` for each layer, reports progress, and returns the seconds that it took. A layer that was
 * removed meanwhile is skipped.
 */
async function eachLayer(
  layers: readonly Layer[],
  flags: UpkeepFlags,
  act: (layer: Layer) => Promise<void>,
): Promise<number> {
  const totalBytes = layers.reduce((sum, { bytes }) => sum + bytes, 0);
  const begun = performance.now();
  await withProgress(flags.output, 'checked', async (report) => {
    let bytes = 0;
    for (const layer of layers) {
      report({ bytes, totalBytes }, layer.images[0]);
      await act(layer).catch((thrown: unknown) => {
        if (!isPortcullisError(thrown) || thrown.code !== 'IMAGES_LAYER_UNKNOWN') throw thrown;
      });
      bytes += layer.bytes;
      report({ bytes, totalBytes }, layer.images[0]);
    }
  });
  return (performance.now() - begun) / 1000;
}

async function check(image: string | undefined, flags: UpkeepFlags): Promise<number> {
  const { layers } = await layersOf(image, flags);
  const damaged: (Layer & { readonly files: readonly string[] })[] = [];
  const incomplete: Layer[] = [];
  const seconds = await eachLayer(layers, flags, async (layer) => {
    const found = await askAdmin(flags, 'images/check-layer', { layer: layer.layer }, layerMs);
    if (found.damaged.length > 0) damaged.push({ ...layer, files: found.damaged });
    else if (found.incomplete === true) incomplete.push(layer);
  });
  const compared = layers.filter((layer) => !incomplete.includes(layer));
  const bytes = compared.reduce((sum, layer) => sum + layer.bytes, 0);
  const rows = damaged.flatMap(({ layer, images, files }) =>
    files.map((file) => [images.join(', '), shortId(layer), file]),
  );
  const rate = seconds === 0 ? 0 : bytes / seconds;
  const rest =
    incomplete.length === 0
      ? ''
      : `not checked: ${incomplete.length} ${incomplete.length === 1 ? 'layer that is' : 'layers that are'} still being fetched\n`;
  const summary = `checked ${compared.length} ${compared.length === 1 ? 'layer' : 'layers'}, ${size(bytes)}, ${size(rate)}/s: ${damaged.length === 0 ? 'all are intact' : `${damaged.length} damaged, see portcullis images repair`}\n${rest}`;
  print(
    flags.output,
    { layers: compared.length, bytes, seconds, damaged, incomplete },
    rows.length === 0 ? summary : `${table(['IMAGES', 'LAYER', 'DAMAGED FILE'], rows)}${summary}`,
  );
  return damaged.length === 0 ? exitCodes.yes : exitCodes.no;
}

async function repair(image: string | undefined, flags: UpkeepFlags): Promise<number> {
  const { layers } = await layersOf(image, flags);
  const repaired: (Layer & { readonly from: string })[] = [];
  const failed: (Layer & { readonly error: PortcullisError })[] = [];
  await eachLayer(layers, flags, async (layer) => {
    try {
      const { from } = await askAdmin(flags, 'images/repair-layer', { layer: layer.layer }, layerMs);
      if (from === 'blob' || from === 'registry') repaired.push({ ...layer, from });
    } catch (thrown) {
      // The other layers may be repaired.
      if (!isPortcullisError(thrown) || !/^IMAGES_(?:NOT_REPAIRED|LAYER_UNCHECKED)$/u.test(thrown.code))
        throw thrown;
      failed.push({ ...layer, error: thrown });
    }
  });
  const rows = [
    ...repaired.map(({ images, layer, from }) => [
      images.join(', '),
      shortId(layer),
      `restored from ${from === 'blob' ? 'its blob' : 'its registry'}`,
    ]),
    ...failed.map(({ images, layer, error }) => [images.join(', '), shortId(layer), error.failure.why]),
  ];
  const summary = `checked ${layers.length} ${layers.length === 1 ? 'layer' : 'layers'}: ${repaired.length} restored, ${failed.length} not restored\n`;
  print(
    flags.output,
    {
      layers: layers.length,
      repaired,
      failed: failed.map(({ error, ...layer }) => ({ ...layer, error: errorToJson(error) })),
    },
    rows.length === 0 ? summary : `${table(['IMAGES', 'LAYER', 'RESULT'], rows)}${summary}`,
  );
  return failed.length === 0 ? exitCodes.yes : exitCodes.no;
}
