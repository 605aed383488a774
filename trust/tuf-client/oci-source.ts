import type { Descriptor, RegistryRepository } from '../../base/distribution/index.ts';
import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { tufFailure } from '../tuf/failure.ts';
import type { TufSource } from './source.ts';

/**
 * The media types of a metadata repository in a registry (docs/publishing.md): one manifest under a tag, in
 * which each file is a layer with its name.
 */
export const tufArtifactType = 'application/vnd.portcullis.tuf.v1';
export const tufMetadataType = 'application/vnd.portcullis.tuf.metadata.v1+json';
export const titleAnnotation = 'org.opencontainers.image.title';
/** The tag that applies when a reference names none. */
export const defaultTufTag = 'portcullis-tuf';

interface Standing {
  readonly repository: RegistryRepository;
  readonly files: ReadonlyMap<string, Descriptor>;
}

/**
 * Returns a source of metadata in a registry. The tag is resolved again when roots are requested, which
 * happens at the start of every update. The rest of the update uses that one manifest, so its files are
 * consistent.
 * @param places where to look, in order: the first place that has the tag counts
 */
export function ociSource(places: readonly RegistryRepository[], tag: string): TufSource {
  let existing: Promise<Standing | undefined> | undefined;
  return {
    async fetch(name, mostBytes) {
      if (existing === undefined || name.endsWith('.root.json')) existing = readPlaces(places, tag);
      const { repository, files } = (await existing) ?? {};
      const found = files?.get(decodeURIComponent(name));
      if (found === undefined || repository === undefined) return undefined;
      if (found.size > mostBytes)
        throw tufFailure('TRUST_TUF_TOO_LARGE', name, `it is larger than ${mostBytes} bytes`);
      try {
        return Buffer.from(await repository.blobBytes(found, mostBytes));
      } catch (thrown) {
        throw unreachable(repository, tag, thrown);
      }
    },
  };
}

/**
 * Reads the first place that has the tag. A place that cannot be reached, such as an origin behind an air
 * gap, is skipped in favour of the next one.
 */
async function readPlaces(places: readonly RegistryRepository[], tag: string): Promise<Standing | undefined> {
  let failure: unknown;
  for (const repository of places) {
    try {
      const files = await readFiles(repository, tag);
      if (files.size > 0) return { repository, files };
    } catch (thrown) {
      failure ??= thrown;
    }
  }
  if (failure !== undefined) throw failure as Error;
  return undefined;
}

/**
 * Returns the files under a tag, by name; empty when there is no such tag.
 * @throws TRUST_TUF_UNREACHABLE · TRUST_TUF_MALFORMED
 */
export async function readFiles(
  repository: RegistryRepository,
  tag: string,
): Promise<ReadonlyMap<string, Descriptor>> {
  try {
    const { content } = await repository.manifest(tag);
    if (content.kind !== 'manifest')
      throw tufFailure('TRUST_TUF_MALFORMED', tag, 'the tag refers to an index, not to metadata');
    const layers = content.layers.filter(({ mediaType }) => mediaType === tufMetadataType);
    return new Map(layers.map((layer) => [layer.annotations?.[titleAnnotation] ?? '', layer]));
  } catch (thrown) {
    if (isPortcullisError(thrown) && thrown.kind === 'not-found') return new Map();
    throw unreachable(repository, tag, thrown);
  }
}

function unreachable({ host, repository }: RegistryRepository, tag: string, thrown: unknown): Error {
  if (isPortcullisError(thrown) && thrown.code.startsWith('TRUST_TUF_')) return thrown;
  return tufFailure('TRUST_TUF_UNREACHABLE', `oci://${host}/${repository}:${tag}`, reasonOf(thrown), thrown);
}
