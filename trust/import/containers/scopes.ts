/** The scope of all images of the transport `docker`. */
export const rootScope = '';

/** A name has at most 255 characters, a tag 128, a digest 72, and one of our image patterns 512. */
const scopeLimit = 500;

const hostPart = '(?:[a-z0-9]|[a-z0-9][a-z0-9-]*[a-z0-9])';
const host = `${hostPart}(?:\\.${hostPart})*`;
const pathPart = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
const plainScope = new RegExp(
  `^(${host}(?::[0-9]{1,5})?)((?:/${pathPart})*)(?:(:[0-9A-Za-z_][0-9A-Za-z_.-]{0,127})|(@sha256:[0-9a-f]{64}))?$`,
);
const wildcardScope = new RegExp(`^\\*\\.${host}$`);

/**
 * Returns why no image can ever be looked up under a scope of the transport `docker`, or undefined for a
 * scope that contains images. Names are looked up in full form, host first
 * (docker/policyconfiguration/naming.go).
 */
export function whyNever(scope: string): string | undefined {
  if (scope.length > scopeLimit) return 'it is longer than any image name';
  if (scope === rootScope || wildcardScope.test(scope)) return undefined;
  if (scope.startsWith('*')) return 'a wildcard is written *.HOST, without port and path';
  const [, registry, path = '', tag, digest] = plainScope.exec(scope) ?? [];
  if (registry === undefined) return 'it is neither a host nor a full name in lower case';
  if (!/[.:]/.test(registry) && registry !== 'localhost')
    return 'names are looked up with their host, such as docker.io/library/busybox';
  if (registry === 'index.docker.io') return 'Docker Hub is looked up as docker.io';
  if ((tag !== undefined || digest !== undefined) && path === '') return 'a host has no tag and no digest';
  if (registry === 'docker.io' && path.split('/').length === 2 && (tag ?? digest) !== undefined)
    return 'images of Docker Hub are looked up with library/';
  return undefined;
}

/**
 * Returns the scopes under which the images of `scope` are looked up, the most specific first, starting with
 * `scope` itself: the repository, its parents, the host, wildcards of the host without its port, and the
 * root.
 */
export function scopeChain(scope: string): readonly string[] {
  if (scope === rootScope) return [rootScope];
  const chain = [scope];
  let name = /^(.*\/[^/:@]*)[:@].*$/.exec(scope)?.[1] ?? scope;
  if (name !== scope) chain.push(name);
  for (let slash = name.lastIndexOf('/'); slash >= 0; slash = name.lastIndexOf('/')) {
    name = name.slice(0, slash);
    chain.push(name);
  }
  let rest = name.replace(/^\*\./, '').replace(/:.*$/, '');
  for (let dot = rest.indexOf('.'); dot >= 0; dot = rest.indexOf('.')) {
    rest = rest.slice(dot + 1);
    chain.push(`*.${rest}`);
  }
  return [...chain, rootScope];
}

/** Returns our image patterns for the images that are looked up under a scope. */
export function scopePatterns(scope: string): readonly string[] {
  if (scope === rootScope) return ['**'];
  if (scope.startsWith('*.')) return [`${scope}/**`, `${scope}:*/**`];
  const path = scope.slice(scope.indexOf('/') + 1);
  if (!scope.includes('/')) return [`${scope}/**`];
  if (/[:@]/.test(path)) return [scope];
  // Repositories of Docker Hub have at least two segments: our patterns would read a single segment as
  // library/….
  return scope.startsWith('docker.io/') && !path.includes('/') ? [`${scope}/**`] : [scope, `${scope}/**`];
}
