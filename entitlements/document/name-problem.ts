import type { Problem } from '../../base/schema/index.ts';
import { builtinProfile } from '../profile/builtin.ts';

/**
 * Returns the problem of a profile's name that is taken, or undefined.
 * @param position of the name
 * @param earlier the position of the same name in a document before
 */
export function nameProblem(
  name: string,
  position: Problem['position'],
  earlier: Problem['position'] | undefined,
): Problem | undefined {
  const at = { position, path: 'metadata.name' };
  if (builtinProfile(name) !== undefined)
    return { ...at, message: `\`${name}\` is a built-in profile`, fix: 'choose another name' };
  if (earlier === undefined) return undefined;
  const message = `the profile \`${name}\` is defined at ${earlier.file}:${earlier.line} already`;
  return { ...at, message, fix: 'rename one of the two' };
}
