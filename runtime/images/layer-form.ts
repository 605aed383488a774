import { reasonOf } from '../../base/errors/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { mountWayOf } from './erofs/mount-layer.ts';
import type { MountWay } from './erofs/mount-layer.ts';
import { probeLayerMounts } from './erofs/probe.ts';
import type { StoreFolders } from './folders.ts';
import { imageError } from './limits/failures.ts';
import type { LayerForm } from './layer-workers/protocol.ts';
import type { LayerRow } from './stored-image.ts';
import type { LayerFormFacts } from './types.ts';

/** The form of new layers, and how this machine mounts layer files. */
export interface ChosenForm {
  readonly form: LayerForm;
  readonly way: MountWay;
}

/**
 * Chooses the form of new layers. Mounts a test file to find out whether the kernel mounts layer files,
 * unless no layer needs this. If no file can be written to the disk, relies on the release of the kernel,
 * provided that some layers are files or all new layers must be files.
 * @param wanted `storage.layers` of the configuration
 * @throws IMAGES_LAYERS_UNMOUNTABLE when layer files are required and this machine does not mount them
 */
export async function chooseLayerForm(
  wanted: 'auto' | 'erofs' | 'folders',
  recorded: Iterable<Pick<LayerRow, 'form'>>,
  kernel: Pick<Kernel, 'openDetachedMount'>,
  folders: Pick<StoreFolders, 'staging'>,
  log: Pick<Logger, 'warn' | 'info' | 'debug'>,
): Promise<ChosenForm> {
  const hasFiles = [...recorded].some(({ form }) => form === 'erofs');
  if (wanted === 'folders' && !hasFiles)
    return { form: 'folder', way: { kind: 'none', why: 'layers are configured to be folders' } };
  const isNeeded = wanted === 'erofs' || hasFiles;
  const way = await probeLayerMounts(kernel, folders.staging).catch((thrown: unknown): MountWay => {
    const why = reasonOf(thrown);
    log.warn(
      { why, on: folders.staging },
      'the mount of a layer file was not tried, because no file can be written to the disk',
    );
    return isNeeded ? mountWayOf(folders.staging) : { kind: 'none', why: `a mount was not tried: ${why}` };
  });
  if (way.kind !== 'none') {
    log.debug(
      { by: way.kind, direct: way.direct, verity: way.verity === true },
      'the kernel mounts layer files',
    );
    return { form: wanted === 'folders' ? 'folder' : 'erofs', way };
  }
  if (wanted === 'erofs') throw unmountable(folders.staging, way.why);
  if (wanted === 'auto')
    log.info({ why: way.why }, 'layers are unpacked into folders: the kernel does not mount layer files');
  return { form: 'folder', way };
}

/** Returns the choice in the form of the interface. */
export function formFacts({ form, way }: ChosenForm): LayerFormFacts {
  if (way.kind === 'none') return { form, why: way.why };
  return { form, mountedBy: way.kind, verity: form === 'erofs' && way.verity === true };
}

function unmountable(on: string, why: string): Error {
  return imageError({
    code: 'IMAGES_LAYERS_UNMOUNTABLE',
    kind: 'precondition',
    attempted: 'mount a layer file as storage.layers requires',
    on,
    why,
    fix: 'use Linux 6.4 or later with EROFS and loop devices, or set storage.layers to auto or folders',
  });
}
