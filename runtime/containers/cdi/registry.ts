import { join } from 'node:path';
import { PortcullisError } from '../../../base/errors/index.ts';
import { largest } from '../../../base/lists/index.ts';
import { hasNoAnswer } from '../../host-paths/host-paths.ts';
import type { HostPaths } from '../../host-paths/host-paths.ts';
import type { QualifiedName } from './device-names.ts';
import { readSpecFile, writableByOthers } from './spec-file.ts';
import type { CdiSpec, ContainerEdits } from './spec-schema.ts';

/** The devices that CDI specs on this host describe. */
export interface CdiRegistry {
  /**
   * Returns the edits for the devices, in order. The edits of each spec come once, before those of its first
   * device.
   * @throws PortcullisError RUNTIME_CDI_DEVICE_NOT_FOUND, RUNTIME_CDI_CONFLICT, RUNTIME_PATH_NO_ANSWER
   */
  editsFor(names: readonly QualifiedName[]): Promise<readonly ContainerEdits[]>;
}

interface Found {
  readonly spec: CdiSpec;
  readonly path: string;
  /** Priority of the folder: a later folder wins over an earlier one. */
  readonly priority: number;
}

const fileLimit = 1024;

/** @param folders in order of priority, lowest first (CDI: /etc/cdi, then /var/run/cdi) */
export function createCdiRegistry(folders: readonly string[], paths: HostPaths): CdiRegistry {
  /**
   * The version and the content of each file that is used, by path. The other files are read each time: a
   * folder may have got its permissions, or a failure may have passed.
   */
  const known = new Map<string, { readonly version: string; readonly read: CdiSpec }>();

  const readAll = async (): Promise<{ specs: Found[]; problems: string[] }> => {
    const specs: Found[] = [];
    const problems: string[] = [];
    const seen = new Set<string>();
    for (const [priority, folder] of folders.entries()) {
      // The administrator controls a link to the folder: /var/run is a link on every system.
      const real = await paths.facts(folder).then((facts) => facts.path, unlessNoAnswer);
      if (real === undefined) continue;
      // Each time: permissions of a folder are not in the versions of its files.
      const open = await writableByOthers(real, paths);
      if (open !== undefined) {
        problems.push(open);
        continue;
      }
      const files = (await paths.folderFiles(real))
        .filter(({ name }) => /^[^/]*\.(json|yaml)$/.test(name))
        .toSorted((a, b) => (a.name < b.name ? -1 : 1));
      if (files.length > fileLimit)
        problems.push(`${folder}: it contains more than ${fileLimit} specs; the rest is not read`);
      for (const { name, version } of files.slice(0, fileLimit)) {
        const path = join(real, name);
        seen.add(path);
        const held = known.get(path);
        const read = held?.version === version ? held.read : await readSpecFile(path, paths);
        if (typeof read === 'string') {
          known.delete(path);
          problems.push(read);
        } else {
          known.set(path, { version, read });
          specs.push({ spec: read, path, priority });
        }
      }
    }
    for (const path of known.keys()) if (!seen.has(path)) known.delete(path);
    return { specs, problems };
  };

  return {
    editsFor: async (names) => {
      if (names.length === 0) return [];
      const { specs, problems } = await readAll();
      const used = new Set<string>();
      return names.flatMap((name) => {
        const { spec, path } = find(name, specs, problems);
        const device = spec.devices.find((one) => one.name === name.device);
        const common = used.has(path) || spec.containerEdits === undefined ? [] : [spec.containerEdits];
        used.add(path);
        return [...common, ...(device === undefined ? [] : [device.containerEdits])];
      });
    },
  };
}

/** A missing folder has no specs. The specs of a folder whose file system does not answer are unknown. */
function unlessNoAnswer(thrown: unknown): undefined {
  if (hasNoAnswer(thrown)) throw thrown;
  return undefined;
}

/**
 * If two specs in one folder describe the same device, they conflict, and neither is used (CDI, pkg/cdi:
 * cache).
 */
function find(name: QualifiedName, specs: readonly Found[], problems: readonly string[]): Found {
  const matches = specs.filter(
    ({ spec }) => spec.kind === name.kind && spec.devices.some((device) => device.name === name.device),
  );
  const highest = largest(matches.map(({ priority }) => priority));
  const [first, second] = matches.filter(({ priority }) => priority === highest);
  if (first !== undefined && second === undefined) return first;
  const conflict = first !== undefined && second !== undefined;
  throw new PortcullisError({
    code: conflict ? 'RUNTIME_CDI_CONFLICT' : 'RUNTIME_CDI_DEVICE_NOT_FOUND',
    kind: 'precondition',
    attempted: 'add CDI device',
    on: name.text,
    why: conflict
      ? `${first.path} and ${second.path} both describe it`
      : ['no CDI spec describes it', ...problems.slice(0, 4)].join('; not used: ').slice(0, 2_000),
    fix: conflict
      ? 'remove one of the two'
      : 'check whether its driver wrote a spec into one of the folders in `cdi.specDirs`',
  });
}
