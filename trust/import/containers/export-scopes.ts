import { parseImagePattern, patternMatches } from '../../requirements/image-pattern.ts';
import type { ImagePattern } from '../../requirements/image-pattern.ts';
import { otherNames } from '../../requirements/named-images.ts';
import { rootScope, whyNever } from './scopes.ts';

/** One of our patterns as a scope. `wider`: what else the scope contains. */
export interface PatternScope {
  readonly scope: string;
  readonly wider?: string;
}

/**
 * Returns the scope of a policy.json that contains what a pattern matches, or undefined when there is none.
 * `beside`: the other patterns of the rule.
 */
export function scopeOfPattern(text: string, beside: readonly string[]): PatternScope | undefined {
  const { host, path, tag, digest } = parseImagePattern(text);
  if (host === '')
    return path.join('/') === '**' && tag === undefined && digest === undefined
      ? { scope: rootScope }
      : undefined;
  const open = path.at(-1) === '**';
  const names = open ? path.slice(0, -1) : path;
  if (names.some((name) => name.includes('*')) || tag?.includes('*') === true) return undefined;
  const version = tag === undefined ? (digest === undefined ? '' : `@${digest}`) : `:${tag}`;
  if (version !== '' && open) return undefined;
  if (host.includes('*')) return wildcard(host, names, open, beside);
  const name = [host, ...names].join('/');
  const scope = `${name}${version}`;
  if (whyNever(scope) !== undefined) return undefined;
  if (version !== '' || names.length === 0 || (open && host === 'docker.io' && names.length === 1))
    return { scope };
  const other = open ? name : `${name}/**`;
  return beside.includes(other) ? { scope } : { scope, wider: other };
}

function wildcard(
  host: string,
  names: readonly string[],
  open: boolean,
  beside: readonly string[],
): PatternScope | undefined {
  const [, domain, port] = /^(\*\.[^*:]+)(:\*)?$/.exec(host) ?? [];
  if (domain === undefined || !open || names.length > 0 || whyNever(domain) !== undefined) return undefined;
  const other = port === undefined ? `${domain}:*/**` : `${domain}/**`;
  return beside.includes(other) ? { scope: domain } : { scope: domain, wider: other };
}

/** Whether a pattern may match an image in a scope. In doubt, the answer is yes. */
export function mayOverlap(text: string, scope: string): boolean {
  if (scope === rootScope || scope.startsWith('*')) return true;
  const pattern: ImagePattern = parseImagePattern(text);
  if (pattern.host === '') return true;
  const registry = scope.split('/')[0] ?? '';
  return [registry, ...otherNames(registry)].some((name) =>
    patternMatches({ host: pattern.host, path: ['**'] }, { registry: name, repository: 'any' }),
  );
}

/** Returns a scope by the other names of its registry, which lead to the same images. */
export function otherScopes(scope: string): readonly string[] {
  const [registry = '', ...path] = scope.split('/');
  if (registry === '' || registry.startsWith('*')) return [];
  return otherNames(registry)
    .map((name) => [name, ...path].join('/'))
    .filter((other) => whyNever(other) === undefined);
}
