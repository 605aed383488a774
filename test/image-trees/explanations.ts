/** An entry that differs between our tree and another one. */
export interface Difference {
  /** As JSON; empty when the other program refuses the image. */
  readonly path: string;
  readonly ours: string | undefined;
  readonly theirs: string | undefined;
}

/** A difference that is intended, or that is not ours. docs/test-suites.md lists them. */
export interface Explanation {
  readonly peers: readonly string[];
  readonly why: string;
  explains(image: string, difference: Difference): boolean;
}

const refusal = (words: RegExp): Explanation['explains'] => {
  return (_image, { path, theirs = '' }) =>
    path === '' && theirs.startsWith('refused: ') && words.test(theirs);
};
/** The entries are equal except for the text that the pattern matches, on either side. */
const apartFrom = (pattern: RegExp, { ours = 'none', theirs = 'none' }: Difference): boolean =>
  ours.replaceAll(pattern, '') === theirs.replaceAll(pattern, '');
const isFolder = ({ theirs = '' }: Difference): boolean => /^4\d{4} /.test(theirs);
const time = / time \d+/g;

export const explanations: readonly Explanation[] = [
  {
    peers: ['umoci'],
    why: 'umoci does not read images with the media types of docker',
    explains: (image, difference) =>
      image.startsWith('docker: ') && refusal(/not implemented: application\/vnd\.docker/)(image, difference),
  },
  {
    peers: ['umoci', 'containerd'],
    why: 'it refuses the sparse files of old GNU tar, which we read',
    explains: refusal(/unknown typeflag '\\x53'|unhandled tar header type/),
  },
  {
    peers: ['umoci'],
    why: 'it refuses global extended headers of pax, which containerd and ours skip',
    explains: refusal(/unknown typeflag '\\x67'/),
  },
  {
    peers: ['containerd'],
    why: 'there, a folder that a layer does not list gets the time of unpacking; ours keeps the time from the layer below',
    explains: (_image, difference) =>
      isFolder(difference) && !/ time /.test(difference.theirs ?? '') && apartFrom(time, difference),
  },
  {
    peers: ['containerd'],
    why: 'it refuses a whiteout after a new file of its name; a whiteout hides only entries of lower layers (image-spec, layer.md)',
    explains: refusal(/failed to convert whiteout file .*: file exists/),
  },
  {
    peers: ['containerd'],
    why: 'it keeps whiteouts in opaque folders, which overlayfs lists as names without files',
    explains: (image, difference) =>
      image === 'whiteouts in an opaque folder' && refusal(/^refused: ENOENT: .*lstat/)(image, difference),
  },
  {
    peers: ['containerd'],
    why: 'it marks the root opaque, which overlayfs ignores; ours hides each name below (image-spec, layer.md)',
    explains: (image, { ours }) => image.startsWith('an opaque root') && ours === undefined,
  },
  {
    peers: ['containerd'],
    why: 'there, a folder that a layer does not list gets the attributes of the folder that an opaque root hides',
    explains: (image, difference) =>
      image.startsWith('an opaque root') && isFolder(difference) && apartFrom(/^4\d{4}/g, difference),
  },
  {
    peers: ['containerd'],
    why: 'it applies each layer separately, and refuses a hard link to a file of a lower layer',
    explains: (image, difference) =>
      image.startsWith('a hard link to a file below') && refusal(/ link /)(image, difference),
  },
  {
    peers: ['umoci'],
    why: 'it unpacks all layers into one folder, where names of different layers can share a file; ours has a copy',
    explains: (image, difference) =>
      image.startsWith('a hard link to a file below') && apartFrom(/ links .*$/g, difference),
  },
  {
    peers: ['containerd'],
    why: 'it applies each layer separately, so a folder hides a symlink of a lower layer; ours writes its entries to the target, like umoci',
    explains: (image, { path }) =>
      image === 'a folder that is a symlink below' &&
      ['"/bin"', '"/bin/new"', '"/usr/bin/new"'].includes(path),
  },
  {
    peers: ['containerd'],
    why: 'it does not apply the entry of the root',
    explains: (image, { path }) => image === 'the root' && path === '""',
  },
  {
    peers: ['umoci'],
    why: 'it omits extended attributes without a value',
    explains: (image, difference) =>
      image === 'attributes of users' && apartFrom(/ user\.empty=/g, difference),
  },
  {
    peers: ['umoci', 'containerd'],
    why: 'it keeps labels and trusted attributes of the builder, which must not reach a node',
    explains: (_image, difference) =>
      apartFrom(/ (?:trusted\.a|security\.selinux)=[0-9a-f]*/g, difference) &&
      !/trusted|selinux/.test(difference.ours ?? ''),
  },
];
