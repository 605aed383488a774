import { formatDocuments } from '../../base/schema/index.ts';
import type { KeyOrder, Problem } from '../../base/schema/index.ts';
import { sectionNames } from './section-names.ts';

const documentKeys = ['$schema', 'apiVersion', 'kind', 'metadata', 'parameters', 'extends', ...sectionNames];

const SECTION_KEYS: ReadonlyMap<unknown, readonly string[]> = new Map([
  ['metadata', ['name', 'description']],
  ['files', ['read', 'write', 'execute', 'deny']],
  ['network', ['egress', 'ingress']],
  ['syscalls', ['drop', 'add', 'architectures']],
  ['capabilities', ['drop', 'add', 'ambient']],
  ['devices', ['drop', 'add']],
  ['paths', ['masked', 'readonly']],
]);

const ITEM_KEYS: ReadonlyMap<unknown, readonly string[]> = new Map([
  ['parameters', ['type', 'default', 'description']],
  ['extends', ['profile', 'with']],
  ['mounts', ['fstype', 'target', 'readonly']],
  ['egress', ['to', 'except', 'ports']],
  ['ingress', ['from', 'except', 'ports']],
]);

/**
 * The order of a profile's keys: the most important first. Documents of other kinds share only the first
 * keys.
 */
const order: KeyOrder = (path) => {
  if (path.length === 0) return documentKeys;
  const [first, second] = path;
  if (path.length === 1) return SECTION_KEYS.get(first);
  if (path.length === 2)
    return second === 'deny' && first === 'files' ? SECTION_KEYS.get('files') : ITEM_KEYS.get(first);
  return path.length === 3 && first === 'network' ? ITEM_KEYS.get(second) : undefined;
};

/**
 * Formats a profile file in its canonical form. Comments and meaning stay the same. A text with errors is
 * returned unchanged, with the errors as problems. Never throws.
 */
export function formatProfile(
  text: string,
  file: string,
): { readonly text: string; readonly problems: readonly Problem[] } {
  return formatDocuments(text, file, order);
}
