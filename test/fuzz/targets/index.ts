import type { FuzzGroup, FuzzTarget } from './target.ts';

type Targets = () => Promise<{ readonly targets: readonly FuzzTarget[] }>;

/** A child loads the sources of only one group: the name of a target begins with its group. */
const groups: Readonly<Record<FuzzGroup, Targets>> = {
  images: () => import('./images.ts'),
  trust: () => import('./trust.ts'),
  entitlements: () => import('./entitlements.ts'),
  runtime: () => import('./runtime.ts'),
  network: () => import('./network.ts'),
  fleet: () => import('./fleet.ts'),
};

export const groupNames = Object.keys(groups) as FuzzGroup[];

/** Returns every target, or those of one group, in a fixed order. */
export async function targetNames(group?: string): Promise<string[]> {
  const wanted = groupNames.filter((name) => group === undefined || name === group);
  const loaded = await Promise.all(wanted.map((name) => groups[name]()));
  return loaded.flatMap(({ targets }) => targets.map(({ name }) => name));
}

/** @throws Error when there is no target of that name */
export async function loadTarget(name: string): Promise<FuzzTarget> {
  const load = (groups as Readonly<Record<string, Targets>>)[name.slice(0, name.indexOf('-'))];
  const found = (await load?.())?.targets.find((target) => target.name === name);
  if (found === undefined) throw new Error(`there is no target ${name}`);
  return found;
}
