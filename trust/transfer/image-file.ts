import { copyFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { formatReference, isDigest, orAbsent, parseReference } from '../../base/distribution/index.ts';
import { PortcullisError, fileReason } from '../../base/errors/index.ts';
import { readDockerArchive } from './docker-archive.ts';
import { damaged } from './archive-errors.ts';
import { openLayout } from './layout.ts';
import type { LayoutRepository } from './layout.ts';
import { inTemporary } from './temporary.ts';
import { unpackArchive } from './unpack-archive.ts';

/** An image in a folder or a file. */
export interface ImageInFile {
  /** The image and its evidence, in the form of a registry repository. */
  readonly repository: LayoutRepository;
  /** The folder of the layout. */
  readonly folder: string;
  /** Digest of its index or manifest. */
  readonly digest: string;
}

interface Candidate {
  readonly digest: string;
  /** By which a user can choose it. */
  readonly names: readonly string[];
}

const otherFile = 'name an OCI layout, an OCI archive or a docker archive';

/** The longest list of names in a message. */
const mostNamed = 10;

/**
 * Opens an OCI layout (a folder, or a tar archive of one) or a docker archive (`docker save`) for one use. An
 * archive is extracted to the folder for temporary files.
 * @param input.image tag, name or digest of the image, where there are several, or the digest of one platform
 * @throws PortcullisError `TRUST_ARCHIVE_DAMAGED`, `TRUST_ARCHIVE_AMBIGUOUS`
 */
export async function useImageFile<T>(
  input: { readonly file: string; readonly image?: string | undefined },
  body: (found: ImageInFile) => Promise<T>,
): Promise<T> {
  const { file, image } = input;
  const facts = await stat(file).catch((error: unknown) => {
    throw damaged(file, fileReason(error, file), otherFile);
  });
  if (facts.isDirectory()) {
    if ((await stat(join(file, 'index.json')).catch(() => undefined)) === undefined)
      throw damaged(file, 'the folder has no index.json', otherFile);
    const repository = await openLayout(file);
    const digest = await chosen(file, repository, candidatesIn(repository), image);
    return body({ repository, folder: file, digest });
  }
  return inTemporary('portcullis-image-', async (folder) => {
    const { repository, candidates } = await openArchive(file, folder);
    return body({ repository, folder, digest: await chosen(file, repository, candidates, image) });
  });
}

async function openArchive(
  file: string,
  folder: string,
): Promise<{ readonly repository: LayoutRepository; readonly candidates: readonly Candidate[] }> {
  const files = await unpackArchive(file, folder);
  const index = files.find('index.json');
  // Docker since 25 writes both. The layout has the original digests, so signatures match it.
  if (index !== undefined) {
    await copyFile(
      join(folder, 'blobs', 'sha256', index.digest.slice('sha256:'.length)),
      join(folder, 'index.json'),
    );
    const repository = await openLayout(folder);
    return { repository, candidates: candidatesIn(repository) };
  }
  const manifest = files.find('manifest.json');
  if (manifest === undefined) throw damaged(file, 'it has neither index.json nor manifest.json');
  const repository = await openLayout(folder);
  const bytes = await repository.blobBytes(manifest, 4 * 1024 * 1024);
  const images = await readDockerArchive(file, bytes, files, folder, repository);
  await repository.finish();
  return { repository, candidates: images };
}

function candidatesIn(repository: LayoutRepository): readonly Candidate[] {
  return repository
    .images()
    .map(({ digest, tag, name }) => ({ digest, names: [name, tag].filter((each) => each !== undefined) }));
}

async function chosen(
  file: string,
  repository: LayoutRepository,
  candidates: readonly Candidate[],
  image: string | undefined,
): Promise<string> {
  const wanted =
    image === undefined
      ? candidates
      : candidates.filter(
          ({ digest, names }) => digest === image || names.some((name) => isSame(name, image)),
        );
  const digests = [...new Set(wanted.map(({ digest }) => digest))];
  const [first, second] = digests;
  if (first !== undefined && second === undefined) return first;
  // One platform of an index: "docker save" omits the platforms that docker did not pull.
  if (first === undefined && image !== undefined && isDigest(image)) {
    const part = await orAbsent(repository.resolve(image));
    if (part !== undefined) return part.digest;
  }
  const names = candidates.map((each) => shown(each.names[0] ?? each.digest));
  const list = names.slice(0, mostNamed).join(', ') + (names.length > mostNamed ? ', …' : '');
  const held =
    names.length === 0
      ? 'it contains no image'
      : names.length === 1
        ? `it contains the image ${list}`
        : `it contains ${names.length} images: ${list}`;
  throw new PortcullisError({
    code: 'TRUST_ARCHIVE_AMBIGUOUS',
    kind: 'invalid',
    attempted: 'choose image',
    on: file,
    why:
      image === undefined
        ? held
        : `${digests.length === 0 ? 'no image in it has' : `${digests.length} images in it have`} the name or digest ${JSON.stringify(image.slice(0, 200))}, and ${held}`,
    fix: 'name one of them with --image',
  });
}

/** A name in an archive may hold anything. */
function shown(name: string): string {
  return /^[\w.:/@-]{1,200}$/u.test(name) ? name : JSON.stringify(name.slice(0, 200));
}

/** Whether two names mean the same image: `web:1` is `docker.io/library/web:1`. */
function isSame(name: string, image: string): boolean {
  if (name === image) return true;
  try {
    return formatReference(parseReference(name)) === formatReference(parseReference(image));
  } catch {
    return false;
  }
}
