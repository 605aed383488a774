import { orAbsent } from '../../base/distribution/index.ts';
import type { Descriptor, RegistryRepository } from '../../base/distribution/index.ts';
import { createNegativeCache } from '../../trust/evidence/index.ts';
import type { Verdict } from '../../trust/index.ts';
import { openLayout } from '../../trust/transfer/index.ts';
import type { LayoutFiles } from '../../trust/transfer/index.ts';
import { imageError } from './limits/failures.ts';
import { parseImageName } from './image-name.ts';
import { pullImage } from './pull.ts';
import type { PullDeps } from './pull-course.ts';
import { createSharedDocuments } from './shared-documents.ts';
import { createSharedFlight } from './shared-flight.ts';
import type { StoredImage } from './stored-image.ts';
import type { PullRequest } from './types.ts';

export interface ImportRequest {
  /** Folder of an OCI layout. */
  readonly folder: string;
  /** Digest of the image's index or manifest in the layout. */
  readonly digest: string;
  /** The name that the image gets, and for which the policy decides. */
  readonly reference: string;
  readonly namespace: string;
  readonly signal?: AbortSignal;
  /** As in a pull. */
  readonly onResolved?: NonNullable<PullRequest['onResolved']>;
}

export interface ImportDeps extends PullDeps {
  /** Reads the files of layouts. Undefined: this process reads them, and waits for their file system. */
  readonly givenFiles: LayoutFiles | undefined;
}

/**
 * Pulls an image from a layout on this machine, as if its registry served it: with the same decision and the
 * same checks. The layout is asked before the registry, which may have evidence or blobs that the layout does
 * not have.
 * @throws PortcullisError the errors of a pull; TRUST_ARCHIVE_DAMAGED, IMAGES_NOT_FOUND,
 * IMAGES_IMPORT_MISMATCH
 */
export async function importImage(
  deps: ImportDeps,
  { folder, digest, reference, namespace, signal, onResolved }: ImportRequest,
): Promise<{ readonly image: StoredImage; readonly verdict: Verdict }> {
  const name = parseImageName(reference);
  if (name.reference.digest !== undefined && name.reference.digest !== digest)
    throw mismatch(name.text, digest);
  // The folder may be on a file system that the daemon does not control.
  const layout = await openLayout(folder, deps.givenFiles);
  // The manifest of one platform is listed by an index of the layout, and need not be in index.json.
  if ((await orAbsent(layout.resolve(digest)))?.digest !== digest) throw absent(folder, digest);
  // Evidence that another pull gathers comes from the registry alone, so it is not shared.
  const own: PullDeps = {
    ...deps,
    registryClient: {
      repositories: (of, credentials) =>
        placesOf(
          { layout, digest, wanted: name.wanted, name: name.text },
          deps.registryClient.repositories(of, credentials),
        ),
    },
    // A Worker would ask the registry, and only the registry.
    registryOptions: undefined,
    gathering: createSharedFlight(),
    documents: createSharedDocuments(),
    negativeCache: createNegativeCache(),
  };
  return pullImage(own, {
    reference,
    namespace,
    ...(signal === undefined ? {} : { signal }),
    ...(onResolved === undefined ? {} : { onResolved }),
  });
}

/** The image that is imported, and the tag or digest by which a pull asks for it. */
interface Wanted {
  readonly layout: RegistryRepository;
  readonly digest: string;
  readonly wanted: string;
  readonly name: string;
}

/**
 * Returns the layout, in which the tag refers to the image, and the registries, which are not asked for the
 * tag: neither a registry nor a trust service may replace the image that is imported.
 */
function placesOf(
  { layout, digest, wanted, name }: Wanted,
  registries: readonly RegistryRepository[],
): readonly RegistryRepository[] {
  /** The descriptors in the manifests of the layout, by digest. */
  const known = new Map<string, string | Pick<Descriptor, 'digest' | 'size' | 'mediaType'>>([
    [digest, digest],
  ]);
  let isResolved = false;
  let isOther = false;
  const first: RegistryRepository = {
    ...layout,
    async manifest(asked, signal) {
      if (typeof asked !== 'string') known.set(asked.digest, asked);
      else if (!isResolved && asked !== wanted && asked !== digest) isOther = true;
      if (isOther) throw mismatch(name, digest);
      isResolved = true;
      return layout.manifest(
        asked === wanted ? digest : typeof asked === 'string' ? (known.get(asked) ?? asked) : asked,
        signal,
      );
    },
  };
  const rest = registries.map((repository): RegistryRepository => ({
    ...repository,
    async manifest(asked, signal) {
      if (isOther || (asked === wanted && wanted !== digest)) throw mismatch(name, digest);
      return repository.manifest(asked, signal);
    },
  }));
  return [first, ...rest];
}

function absent(folder: string, digest: string): Error {
  return imageError({
    code: 'IMAGES_NOT_FOUND',
    kind: 'not-found',
    attempted: 'import image',
    on: folder,
    why: `the daemon finds no image ${digest} in this folder`,
    fix: 'use a folder that the daemon can read too; for archives, set TMPDIR to such a folder',
  });
}

function mismatch(name: string, digest: string): Error {
  return imageError({
    code: 'IMAGES_IMPORT_MISMATCH',
    kind: 'invalid',
    attempted: 'import image',
    on: name,
    why: `the layout has ${digest}, and the name refers to another image`,
    fix: 'import the image under its own name, or import an archive of the image to which this name refers',
  });
}
