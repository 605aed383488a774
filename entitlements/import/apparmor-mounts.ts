import { OPEN_BESIDE_READ_ONLY } from '../apparmor/mount-rules.ts';
import { parsePathPattern } from '../files/path-pattern.ts';
import type { MountRule } from '../profile/model.ts';
import { appArmorPathPattern } from './apparmor-variables.ts';

/** The conditions of a `mount` rule before the path: `fstype=…`, `options=…`, `options in (…)`. */
const CONDITION = /^(fstype|vfstype|options?)\s*(=|\sin\s)\s*(\([^)]*\)|[^\s(]+)\s*/;

/**
 * Returns the rules of a profile that grant exactly what a `mount` rule of apparmor.d(5) grants, or a text
 * with the reason why there are none.
 * @param rest the rule, starting with the word `mount`
 */
export function readMountRule(rest: string): readonly MountRule[] | string {
  let text = rest.slice('mount'.length).trim();
  if (text === '') return [{ fstype: '*', target: '/**', readonly: false }];
  let types: readonly string[] = ['*'];
  let must: readonly string[] | undefined;
  let may: readonly string[] = [];
  for (let found = CONDITION.exec(text); found !== null; found = CONDITION.exec(text)) {
    const [whole, name = '', how = '', list = ''] = found;
    const values = list
      .replace(/^\(|\)$/g, '')
      .split(/[\s,]+/)
      .filter((word) => word !== '');
    text = text.slice(whole.length);
    if (name.endsWith('fstype')) {
      if (how !== '=' || types[0] !== '*') return 'write its types as fstype=(A,B)';
      types = values;
    } else if (how === '=' && must === undefined) must = values;
    else if (how !== '=' && may.length === 0) may = values;
    else return 'a profile cannot express several sets of options';
  }
  if (types.length === 0 || types.some((type) => type !== '*' && !/^[a-z0-9_]+$/.test(type)))
    return 'a profile cannot express patterns of types';
  const readonly = must !== undefined || may.length > 0;
  // A profile's read-only mounts may have any of these options. A text that allows fewer would be widened.
  if (readonly && !(must?.join() === 'ro' && OPEN_BESIDE_READ_ONLY.every((one) => may.includes(one))))
    return `a profile can express these options: options=(ro) options in (${OPEN_BESIDE_READ_ONLY.join(',')}), or none`;
  const written = /^->\s+("[^"]+"|\S+)$/.exec(text)?.[1]?.replace(/^"(.*)"$/, '$1');
  if (written === undefined)
    return 'write mount [fstype=TYPE] -> PLACE/: a profile cannot express what is mounted';
  const target = appArmorPathPattern(written);
  if (target === undefined || 'problem' in parsePathPattern(target))
    return 'its mount point is not a pattern that a profile can express';
  // The kernel checks a folder's path with a trailing slash, which a profile's rule allows in addition.
  if (!/(\/|\*\*|\{,\/\})$/.test(written)) return 'the mount point must end in / or **';
  return types.map((fstype) => ({ fstype, target: target.replace(/\{,\/\}$/, ''), readonly }));
}
