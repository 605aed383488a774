import type { Descriptor, Platform } from './descriptor.ts';

/** Names of architectures that some tools write instead of the one of Go. Some include the variant. */
const otherNames: Readonly<Record<string, Pick<Platform, 'architecture' | 'variant'>>> = {
  i386: { architecture: '386' },
  x86_64: { architecture: 'amd64' },
  'x86-64': { architecture: 'amd64' },
  aarch64: { architecture: 'arm64' },
  armhf: { architecture: 'arm', variant: 'v7' },
  armel: { architecture: 'arm', variant: 'v6' },
};
/** Variants that are the same as none. */
const plainVariants: Readonly<Record<string, string>> = { amd64: 'v1', arm64: 'v8' };
const armVersions = [8, 7, 6, 5];

/**
 * Returns a platform as containerd reads it: lower case, the names of Go, and no variant where it adds
 * nothing. Every program that selects an image from an index must select the same one.
 */
export function normalPlatform(stated: Platform): Pick<Platform, 'os' | 'architecture' | 'variant'> {
  const name = stated.architecture.toLowerCase();
  const other = Object.hasOwn(otherNames, name) ? otherNames[name] : undefined;
  const architecture = other?.architecture ?? name;
  const written = stated.variant?.toLowerCase().replace(/^(?=\d)/, 'v');
  const variant = other?.variant ?? written;
  return {
    os: stated.os.toLowerCase(),
    architecture,
    ...(variant === undefined || variant === plainVariants[architecture] ? {} : { variant }),
  };
}

/**
 * Returns the entry of an index that runs on a machine of a platform (image-spec, image-index.md): of the
 * best variant, and of equal ones the first. If no entry is for this platform, and one entry states none,
 * that entry is returned: the configuration of the image states its platform. An entry that demands features
 * of the operating system (`os.features`) is skipped, as containerd does: a node has none of them.
 * @param entries those that can be images
 */
export function choosePlatform<Entry extends Pick<Descriptor, 'platform' | 'artifactType'>>(
  entries: readonly Entry[],
  wanted: Platform,
): Entry | undefined {
  const machine = normalPlatform(wanted);
  const matching = entries.flatMap((entry) => {
    const stated = entry.platform && normalPlatform(entry.platform);
    const isSame =
      stated?.os === machine.os &&
      stated.architecture === machine.architecture &&
      entry.platform?.osFeatures === undefined;
    return isSame ? [{ entry, variant: stated.variant }] : [];
  });
  for (const variant of acceptableVariants(machine)) {
    const found = matching.find((each) => each.variant === variant);
    if (found !== undefined) return found.entry;
  }
  const isOpen = ({ platform, artifactType }: Entry): boolean =>
    platform === undefined && artifactType === undefined;
  const [only, ...more] = entries.filter(isOpen);
  return more.length === 0 ? only : undefined;
}

/**
 * Returns the other entries of an index that some runtime chooses instead of the `chosen` one: those for the
 * same platform, however it is written. CRI-O and older versions of containerd ignore `os.features`, CRI-O
 * prefers entries with an annotation about zstd to earlier ones, and containerd ignores `artifactType`.
 */
export function otherChoices<Entry extends Pick<Descriptor, 'platform'>>(
  entries: readonly Entry[],
  wanted: Platform,
  chosen: Entry,
): readonly Entry[] {
  const machine = normalPlatform(wanted);
  const best = normalPlatform(chosen.platform ?? wanted);
  return entries.filter(({ platform }, index) => {
    if (entries[index] === chosen) return false;
    if (platform === undefined) return chosen.platform === undefined;
    const { os, architecture, variant } = normalPlatform(platform);
    return (
      os === machine.os &&
      architecture === machine.architecture &&
      (variant === best.variant || platform.osFeatures !== undefined)
    );
  });
}

/** Returns the variants that run on a machine, best first. */
function acceptableVariants({ architecture, variant }: Platform): readonly (string | undefined)[] {
  if (architecture !== 'arm') return variant === undefined ? [undefined] : [variant, undefined];
  const newest = Number((variant ?? 'v7').slice(1));
  return [...armVersions.filter((version) => version <= newest).map((version) => `v${version}`), undefined];
}
