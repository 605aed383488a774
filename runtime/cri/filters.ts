import type { ContainerFilter, ImageFilter, PodSandboxFilter } from './contract/contract.types.ts';

type Labels = Readonly<Record<string, string>>;

/**
 * Returns the id that `given` refers to: itself, or the only id that it is a prefix of. Undefined when no id
 * or several ids match.
 */
export function resolveId(ids: readonly string[], given: string): string | undefined {
  if (ids.includes(given)) return given;
  const [only, ...more] = ids.filter((id) => id.startsWith(given));
  return more.length === 0 ? only : undefined;
}

/** Reports whether the labels contain every selected label with exactly the selected value. */
export function matchesLabels(labels: Labels, selector: Labels | undefined): boolean {
  return Object.entries(selector ?? {}).every(
    ([key, value]) => Object.hasOwn(labels, key) && labels[key] === value,
  );
}

/**
 * Returns the sandboxes that a ListPodSandbox filter selects. Its id may be a prefix. All conditions must
 * hold; an empty condition always holds.
 */
export function selectPodSandboxes<
  Sandbox extends { readonly id: string; readonly state: number; readonly labels: Labels },
>(sandboxes: readonly Sandbox[], filter: PodSandboxFilter | undefined): Sandbox[] {
  const id = wantedId(sandboxes, filter?.id);
  return sandboxes.filter(
    (sandbox) =>
      (id === undefined || sandbox.id === id) &&
      (filter?.state === undefined || sandbox.state === filter.state.state) &&
      matchesLabels(sandbox.labels, filter?.labelSelector),
  );
}

/** Returns the containers that a ListContainers filter selects. Both ids may be prefixes. */
export function selectContainers<
  Container extends {
    readonly id: string;
    readonly podSandboxId: string;
    readonly state: number;
    readonly labels: Labels;
  },
>(containers: readonly Container[], filter: ContainerFilter | undefined): Container[] {
  const id = wantedId(containers, filter?.id);
  const sandboxes = [...new Set(containers.map((container) => container.podSandboxId))].map((sandbox) => ({
    id: sandbox,
  }));
  const sandbox = wantedId(sandboxes, filter?.podSandboxId);
  return containers.filter(
    (container) =>
      (id === undefined || container.id === id) &&
      (sandbox === undefined || container.podSandboxId === sandbox) &&
      (filter?.state === undefined || container.state === filter.state.state) &&
      matchesLabels(container.labels, filter?.labelSelector),
  );
}

/**
 * Returns the images that a ListImages filter selects: by id (or a prefix of its hex digits), by digest, by
 * tag or, for a name without either, by repository.
 * @param normalise returns the full form of a name, `docker.io/library/busybox:latest` for `busybox`;
 * undefined when it is not a name
 */
export function selectImages<
  Image extends {
    readonly id: string;
    readonly repoTags: readonly string[];
    readonly repoDigests: readonly string[];
  },
>(
  images: readonly Image[],
  filter: ImageFilter | undefined,
  normalise: (name: string) => string | undefined,
): Image[] {
  const wanted = filter?.image?.image ?? '';
  if (wanted === '') return [...images];
  const hex = wanted.replace(/^sha256:/, '');
  const byId = /^[0-9a-f]{1,64}$/.test(hex)
    ? images.filter((image) => image.id.replace(/^sha256:/, '').startsWith(hex))
    : [];
  if (byId.length > 0) return byId;
  const name = normalise(wanted);
  if (name === undefined) return [];
  const exact = images.filter((image) => image.repoTags.includes(name) || image.repoDigests.includes(name));
  if (exact.length > 0 || wanted.includes('@') || /:[^/]+$/.test(wanted)) return exact;
  const repository = name.replace(/:[^/:]+$/, '');
  return images.filter((image) =>
    [...image.repoTags, ...image.repoDigests].some(
      (known) => known.replace(/@.*$/, '').replace(/:[^/:]+$/, '') === repository,
    ),
  );
}

/**
 * Returns undefined if no id was requested. Returns the empty string, which no item has, if the id matches no
 * item.
 */
function wantedId(items: readonly { readonly id: string }[], given: string | undefined): string | undefined {
  if (given === undefined || given === '') return undefined;
  return (
    resolveId(
      items.map((item) => item.id),
      given,
    ) ?? ''
  );
}
