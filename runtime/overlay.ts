import { hostname } from 'node:os';
import { join } from 'node:path';
import { PortcullisError, reasonOf } from '../base/errors/index.ts';
import { readPlainFile } from '../base/files/index.ts';
import type { Logger } from '../base/log/index.ts';
import { startOverlay } from '../cni-plugins/index.ts';
import type { Overlay, OverlayQuestion, OverlaySettings, ServiceControl } from '../cni-plugins/index.ts';
import type { DaemonConfig } from './config/types.ts';
import { hasNoAnswer } from './host-paths/host-paths.ts';
import type { HostPaths } from './host-paths/host-paths.ts';

/** This host's part of a network that spans hosts, if one is configured. */
export interface DaemonOverlay {
  /**
   * Asks a question of `portcullis network overlay`; the answer is JSON.
   * @throws OVERLAY_NOT_CONFIGURED · the error of the answer
   */
  ask(question: OverlayQuestion): Promise<object>;
  close(): Promise<void>;
}

/** @throws OVERLAY_CERTIFICATE_UNREADABLE */
export async function openOverlay(
  config: DaemonConfig,
  control: ServiceControl,
  paths: Pick<HostPaths, 'names'>,
  log: Logger,
): Promise<DaemonOverlay> {
  const settings = await settingsOf(config);
  const overlay: Overlay | undefined =
    settings === undefined ? undefined : startOverlay(settings, control, answersOf(paths), log);
  return {
    async ask(question) {
      if (overlay === undefined) throw notConfigured();
      return overlay.ask(question);
    },
    close: async () => overlay?.close(),
  };
}

/** A folder that is missing, or cannot be listed, answers. */
const answersOf =
  (paths: Pick<HostPaths, 'names'>) =>
  async (folder: string): Promise<void> => {
    await paths.names(folder).catch((thrown: unknown) => {
      if (hasNoAnswer(thrown)) throw thrown;
    });
  };

async function settingsOf({
  root,
  cni,
  network: { overlay },
}: DaemonConfig): Promise<OverlaySettings | undefined> {
  if (overlay === undefined) return undefined;
  const { endpoints, ca, cert, key } = overlay.etcd;
  const files = {
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
  };
  // The thread reads these files, and reads them again when they change. Here, check only that they are
  // readable.
  for (const file of Object.values(files)) await requireReadable(file);
  return {
    name: overlay.name ?? 'overlay',
    host: overlay.host ?? hostname(),
    etcd: { endpoints, files },
    networks: [
      { prefix: overlay.network, hostLength: overlay.hostPrefix ?? 24 },
      ...(overlay.network6 === undefined
        ? []
        : [{ prefix: overlay.network6, hostLength: overlay.hostPrefix6 ?? 64 }]),
    ],
    underlay: overlay.underlay,
    vni: overlay.vni ?? 1,
    vxlanPort: overlay.vxlanPort ?? 4789,
    encryption: overlay.encryption ?? 'none',
    wireguardPort: overlay.wireguardPort ?? 51_820,
    leaseSeconds: overlay.lease ?? 60,
    holdSeconds: overlay.hold ?? 600,
    folder: join(root, 'overlay'),
    databasePath: join(root, 'network.db'),
    ...(overlay.services !== undefined && { services: overlay.services }),
    confDir: cni.confDir,
    order: overlay.order ?? '10',
  };
}

/** More than any bundle of certificates has. */
const mostPemBytes = 4 * 2 ** 20;

async function requireReadable(file: string): Promise<void> {
  try {
    await readPlainFile(file, mostPemBytes);
  } catch (thrown) {
    throw new PortcullisError({
      code: 'OVERLAY_CERTIFICATE_UNREADABLE',
      kind: 'precondition',
      attempted: 'read the certificates and the key for etcd',
      on: file,
      why: reasonOf(thrown),
      fix: 'correct `network.overlay.etcd`, or make the file readable',
    });
  }
}

function notConfigured(): PortcullisError {
  return new PortcullisError({
    code: 'OVERLAY_NOT_CONFIGURED',
    kind: 'precondition',
    attempted: 'use the overlay',
    on: '',
    why: 'this daemon has no overlay',
    fix: 'set `network.overlay` in its configuration: docs/overlay.md',
  });
}
