import { dirname } from 'node:path';
import { formatProblems, parseDocuments, validate } from '../../../base/schema/index.ts';
import { hasNoAnswer, isOf } from '../../host-paths/host-paths.ts';
import type { HostPaths } from '../../host-paths/host-paths.ts';
import { isDeviceName, isKind } from './device-names.ts';
import { cdiSchema } from './spec-schema.ts';
import type { CdiSpec, ContainerEdits } from './spec-schema.ts';

const sizeLimit = 1024 * 1024;

/**
 * Reads one spec. A spec determines what runs on the host and what a container sees of the host, so only root
 * may have written it.
 * @returns the spec, or one sentence that says why it is not used
 */
export async function readSpecFile(
  path: string,
  paths: Pick<HostPaths, 'ownFacts' | 'text'>,
): Promise<CdiSpec | string> {
  const open = await writableByOthers(path, paths);
  if (open !== undefined) return open;
  const read = await paths.text(path, sizeLimit);
  if ('refused' in read)
    return `${path}: ${read.refused === 'too large' ? `larger than ${sizeLimit} bytes` : 'it is not a plain file'}`;
  return parseSpec(read.text, path);
}

/** Parses the spec from JSON or YAML text. Pure. */
export function parseSpec(content: string, path: string): CdiSpec | string {
  // The libraries of CDI read `fileMode: 0640` as an octal number.
  const parsed = parseDocuments(content, path, { octal: true });
  const [document] = parsed.documents;
  if (document === undefined || parsed.problems.length > 0)
    return formatProblems(parsed.problems) || `${path}: it is empty`;
  if (parsed.documents.length > 1) return `${path}: it contains more than one document`;
  const problems = validate(document, cdiSchema);
  if (problems.length > 0) return formatProblems(problems);
  const spec = document.value as CdiSpec;
  if (!isKind(spec.kind)) return `${path}: kind ${JSON.stringify(spec.kind)} is not vendor/class`;
  const names = spec.devices.map(({ name }) => name);
  const bad = names.find((name) => !isDeviceName(name));
  if (bad !== undefined) return `${path}: ${JSON.stringify(bad)} is not a device name`;
  const seen = new Set<string>();
  const twice = names.find((name) => seen.size === seen.add(name).size);
  if (twice !== undefined) return `${path}: the device ${twice} is listed twice`;
  const needed = neededVersion(spec);
  const said = spec.cdiVersion.replace('v', '');
  if (said.localeCompare(needed, 'en', { numeric: true }) < 0)
    return `${path}: it has version ${said} and uses fields of ${needed}`;
  return spec;
}

/**
 * Returns the lowest version of the specification that has every field in use (CDI, SPEC.md "Released
 * versions").
 */
function neededVersion(spec: CdiSpec): string {
  const edits = [spec.containerEdits ?? {}, ...spec.devices.map((device) => device.containerEdits)];
  const some = (uses: (one: ContainerEdits) => boolean): boolean => edits.some(uses);
  const has = (value: object | undefined): boolean => value !== undefined && Object.keys(value).length > 0;
  if (
    some(
      ({ intelRdt, netDevices }) =>
        has(netDevices) || intelRdt?.['schemata'] !== undefined || intelRdt?.['enableMonitoring'] === true,
    )
  )
    return '1.1.0';
  if (some(({ intelRdt, additionalGids }) => intelRdt !== undefined || has(additionalGids))) return '0.7.0';
  if (
    has(spec.annotations) ||
    spec.devices.some((device) => has(device.annotations)) ||
    (spec.kind.split('/')[1] ?? '').includes('.')
  )
    return '0.6.0';
  if (
    spec.devices.some(({ name }) => /^\d/.test(name)) ||
    some((one) => (one.deviceNodes ?? []).some((node) => node.hostPath !== undefined))
  )
    return '0.5.0';
  return some((one) => (one.mounts ?? []).some((mount) => (mount.type ?? '') !== '')) ? '0.4.0' : '0.3.0';
}

/**
 * Checks whether a user other than root could change the file at `path`: the file itself, a link on the way,
 * or any folder above it.
 * @returns one sentence, or undefined when only root can change it
 */
export async function writableByOthers(
  path: string,
  paths: Pick<HostPaths, 'ownFacts'>,
): Promise<string | undefined> {
  for (let at = path; ; at = dirname(at)) {
    let facts;
    try {
      facts = await paths.ownFacts(at);
    } catch (thrown) {
      if (hasNoAnswer(thrown)) throw thrown;
      return `${at}: ${(thrown as NodeJS.ErrnoException).code ?? String(thrown)}`;
    }
    if (isOf(facts, 'link')) return `${at}: it is a symbolic link`;
    if (facts.uid !== 0) return `${at}: it belongs to user ${facts.uid}, not to root`;
    // In a sticky folder, only the owner of an entry may rename or remove it.
    const sticky = isOf(facts, 'folder') && (facts.mode & 0o1000) !== 0;
    if ((facts.mode & 0o022) !== 0 && !sticky) return `${at}: users other than root may write to it`;
    if (at === '/') return undefined;
  }
}
