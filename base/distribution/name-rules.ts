import type { Reference } from './reference.ts';

/** A registry and a repository: what {@link ruleFor} looks up. */
export type Name = Pick<Reference, 'registry' | 'repository'>;

/** The rule that applies to a name. */
export interface RuleMatch<T> {
  /** The key of the rule. */
  readonly prefix: string;
  readonly rule: T;
  /** The part of the repository behind the prefix; empty if the prefix is the whole name. */
  readonly rest: string;
}

/**
 * Returns the rule for a name: the one with the longest prefix. A prefix is `HOST[:PORT][/PATH]`, matched in
 * whole components, or `*.DOMAIN` for every host below a domain, with any port
 * (containers-registries.conf(5), "Choosing a [[registry]] TOML table"). Pure.
 */
export function ruleFor<T>(
  rules: ReadonlyMap<string, T>,
  { registry, repository }: Name,
): RuleMatch<T> | undefined {
  if (rules.size === 0) return undefined;
  return byHost(rules, registry, repository) ?? byDomain(rules, registry, repository);
}

/**
 * Returns the prefix of the rule that blocks a name. A rule for a host without a port also blocks the host's
 * other ports, and the rule for one host of Docker Hub also blocks its other hosts: otherwise a name that is
 * written in another way would evade the rule. Pure.
 */
export function blockedPrefix(
  rules: ReadonlyMap<string, { readonly blocked?: boolean }>,
  name: Name,
): string | undefined {
  if (rules.size === 0) return undefined;
  const { repository } = name;
  const host = withoutPort(name.registry);
  const others = hubHosts.includes(host) ? hubHosts : [];
  const found =
    byHost(rules, name.registry, repository) ??
    byHost(rules, host, repository) ??
    others.map((other) => byHost(rules, other, repository)).find((match) => match?.rule.blocked === true) ??
    byDomain(rules, host, repository);
  return found?.rule.blocked === true ? found.prefix : undefined;
}

/** Returns whether requests for a name may go to the registry that it names. Pure. */
export function asksOrigin(
  rules: ReadonlyMap<string, { readonly blocked?: boolean; readonly origin?: boolean }> | undefined,
  name: Name,
): boolean {
  if (rules === undefined) return true;
  return blockedPrefix(rules, name) === undefined && ruleFor(rules, name)?.rule.origin !== false;
}

/** The hosts at which Docker Hub serves the same images. */
export const hubHosts: readonly string[] = [
  'docker.io',
  'index.docker.io',
  'registry-1.docker.io',
  'registry.docker.io',
  'registry.hub.docker.com',
];

function withoutPort(registry: string): string {
  return registry.replace(/:\d+$/, '');
}

function byHost<T>(
  rules: ReadonlyMap<string, T>,
  registry: string,
  repository: string,
): RuleMatch<T> | undefined {
  const parts = repository.split('/');
  for (let count = parts.length; count >= 0; count -= 1) {
    const prefix = [registry, ...parts.slice(0, count)].join('/');
    const rule = rules.get(prefix);
    if (rule !== undefined) return { prefix, rule, rest: parts.slice(count).join('/') };
  }
  return undefined;
}

function byDomain<T>(
  rules: ReadonlyMap<string, T>,
  registry: string,
  repository: string,
): RuleMatch<T> | undefined {
  const host = withoutPort(registry);
  for (let dot = host.indexOf('.'); dot >= 0; dot = host.indexOf('.', dot + 1)) {
    const prefix = `*${host.slice(dot)}`;
    const rule = rules.get(prefix);
    if (rule !== undefined) return { prefix, rule, rest: repository };
  }
  return undefined;
}
