import type { PathSegment } from '../../base/schema/index.ts';
import { blockHalves, blockWithin, formatAddress, indexBlocks, parseCidr } from '../profile/cidr.ts';
import type { Block } from '../profile/cidr.ts';
import { parsePathPattern } from '../files/path-pattern.ts';
import type { FileRule, MountRule } from '../profile/model.ts';
import type { FileAccess, NetworkRule } from '../types.ts';
import type { Report } from './report.ts';
import { EVERY_PORT, EVERYWHERE, networkRules, readCidr, readPorts } from '../profile/values.ts';
import type { Ports, Read } from '../profile/values.ts';

type Path = readonly PathSegment[];

export const ACCESSES: readonly FileAccess[] = ['execute', 'read', 'write'];

export interface FileSection {
  readonly read?: readonly string[];
  readonly write?: readonly string[];
  readonly execute?: readonly string[];
  readonly deny?: Omit<FileSection, 'deny'>;
}

/** Reads patterns by type of access, and skips invalid ones. */
export function readFiles(
  section: FileSection,
  path: Path,
  report: Report,
): Partial<Record<FileAccess, readonly string[]>> {
  const found: Partial<Record<FileAccess, readonly string[]>> = {};
  for (const access of ACCESSES) {
    const written = section[access];
    if (written !== undefined)
      found[access] = written.filter((pattern, at) => soundPattern(pattern, [...path, access, at], report));
  }
  return found;
}

export function readDenied(section: FileSection, path: Path, report: Report): FileRule[] {
  const found = readFiles(section.deny ?? {}, [...path, 'deny'], report);
  return ACCESSES.flatMap((access) =>
    (found[access] ?? []).map((pattern) => ({ pattern, access: [access] })),
  );
}

function soundPattern(pattern: string, path: Path, report: Report): boolean {
  const found = parsePathPattern(pattern);
  if ('pattern' in found) return true;
  const { at, message, fix } = found.problem;
  report(path, at === 0 ? message : `at character ${at + 1}: ${message}`, fix);
  return false;
}

export interface PeerSection {
  readonly to?: string | readonly string[];
  readonly from?: string | readonly string[];
  readonly except?: readonly string[];
  readonly ports?: readonly string[];
}

/** Returns what one rule of `egress` or `ingress` allows. */
export function readPeers(
  section: PeerSection,
  direction: 'to' | 'from',
  path: Path,
  report: Report,
): NetworkRule[] {
  const written = section[direction];
  const cidrs =
    written === undefined
      ? EVERYWHERE
      : typeof written === 'string'
        ? read([written], readCidr, () => [...path, direction], report)
        : read(written, readCidr, (at) => [...path, direction, at], report);
  const except = read(section.except ?? [], readCidr, (at) => [...path, 'except', at], report);
  const ports: readonly Ports[] =
    section.ports === undefined
      ? EVERY_PORT
      : read(section.ports, readPorts, (at) => [...path, 'ports', at], report);
  const blocks = cidrs.flatMap((text) => parseCidr(text) ?? []);
  const holes = except.flatMap((text) => parseCidr(text) ?? []);
  const blocksAround = indexBlocks(blocks);
  const holesIn = new Map<Block, Block[]>(blocks.map((block) => [block, []]));
  for (const [at, text] of except.entries()) {
    const hole = holes[at];
    if (hole === undefined) continue;
    const around = blocksAround(hole);
    if (around.length === 0)
      report(
        [...path, 'except', at],
        `${text} is in none of the blocks from which it is excluded`,
        'remove it, or widen the block',
      );
    for (const block of around) holesIn.get(block)?.push(hole);
  }
  const holesAround = indexBlocks(holes);
  const left = blocks
    .filter((block) => holesAround(block).length === 0)
    .flatMap((block) => without(block, holesIn.get(block) ?? []));
  if (left.length > MAX_BLOCKS) {
    report(
      [...path, 'except'],
      `more than ${MAX_BLOCKS} blocks are left`,
      'exclude fewer blocks, or list the blocks that are meant',
    );
    return [];
  }
  return networkRules(left, ports);
}

const MAX_BLOCKS = 1024;

/** Returns the block without smaller blocks in it, as blocks. */
function without(block: Block, holes: readonly Block[]): string[] {
  const split = (part: Block, inside: readonly Block[]): Block[] => {
    const near = inside.filter((hole) => blockWithin(hole, part));
    if (near.length === 0) return [part];
    if (near.some((hole) => hole.prefix === part.prefix)) return [];
    return blockHalves(part).flatMap((half) => split(half, near));
  };
  return split(block, holes).map(
    ({ family, address, prefix }) => `${formatAddress(family, address)}/${prefix}`,
  );
}

/** Returns the values that can be read, and reports the others. */
export function read<T>(
  items: readonly unknown[],
  how: (written: unknown) => Read<T>,
  place: (at: number) => Path,
  report: Report,
): T[] {
  return items.flatMap((item, at) => {
    const found = how(item);
    if ('value' in found) return [found.value];
    report(place(at), found.problem, found.fix);
    return [];
  });
}

export interface MountSection {
  readonly fstype?: string;
  readonly target: string;
  readonly readonly?: boolean;
}

export function readMounts(sections: readonly MountSection[], report: Report): MountRule[] {
  return sections.flatMap(({ fstype = '*', target, readonly = false }, at) => {
    const sound = soundPattern(target, ['mounts', at, 'target'], report);
    const known = knownFsType(fstype, ['mounts', at, 'fstype'], report);
    return sound && known ? [{ fstype, target, readonly }] : [];
  });
}

/** Reports a text that is not a file system type: the type becomes a part of the text for AppArmor. */
export function knownFsType(fstype: string, path: Path, report: Report): boolean {
  if (fstype === '*' || /^[a-z0-9][a-z0-9._-]{0,31}$/.test(fstype)) return true;
  report(
    path,
    `\`${fstype.slice(0, 80)}\` is not a file system type`,
    'write one of /proc/filesystems, or *',
  );
  return false;
}

/** Reads plain absolute paths below `/`. */
export function readPaths(written: readonly string[], path: Path, report: Report): string[] {
  return written.filter((text, at) => {
    const problem = plainPathProblem(text);
    if (problem !== undefined) report([...path, at], problem.message, problem.fix);
    return problem === undefined;
  });
}

/**
 * Returns why a text is not a plain absolute path below `/`; undefined if it is one. No runtime can mask `/`,
 * and the other paths of a profile, and of a ceiling, would count as covered by it.
 */
export function plainPathProblem(
  text: string,
): { readonly message: string; readonly fix: string } | undefined {
  if (text === '/')
    return {
      message: '`/` cannot be masked or read-only',
      fix: 'name the paths below it, or use the entitlement security.fs-read-only',
    };
  if (/^\/[^*?[\]{}\\]*$/.test(text) && !/\/\/|\/\.\.?(\/|$)|.\/$/.test(text) && !hasControl(text))
    return undefined;
  return {
    message: `\`${text}\` is not a plain absolute path`,
    fix: 'write one path, without patterns, . and .. and a slash at its end',
  };
}

function hasControl(text: string): boolean {
  return Array.from(text).some((character) => character < ' ' || character === '\u007f');
}
