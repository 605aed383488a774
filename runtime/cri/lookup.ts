import { PortcullisError } from '../../base/errors/index.ts';
import type { CriClient } from './client.ts';
import { ContainerState } from './contract/contract.types.ts';
import type { Container } from './contract/contract.types.ts';
import { resolveId } from './filters.ts';

/**
 * Returns the container that a user means by an id, an id prefix, or a container name (the newest running
 * container, or else the newest).
 * Throws CRI_NO_SUCH_CONTAINER, or CRI_AMBIGUOUS_CONTAINER when several running containers of different pods
 * have the name.
 */
export async function findContainer(client: CriClient, nameOrId: string): Promise<Container> {
  const { containers } = await client.runtime.listContainers({});
  const id = resolveId(
    containers.map((container) => container.id),
    nameOrId,
  );
  const byId =
    id === undefined || nameOrId === '' ? undefined : containers.find((container) => container.id === id);
  if (byId !== undefined) return byId;
  const named = containers
    .filter((container) => container.metadata?.name === nameOrId)
    .toSorted((a, b) => (a.createdAt < b.createdAt ? 1 : -1));
  const running = named.filter((container) => container.state === ContainerState.CONTAINER_RUNNING);
  if (new Set(running.map((container) => container.podSandboxId)).size > 1) {
    throw failure(
      'CRI_AMBIGUOUS_CONTAINER',
      'invalid',
      nameOrId,
      `several running containers have the name: ${running.map(shortId).join(', ')}`,
      'use one of these ids',
    );
  }
  const found = running[0] ?? named[0];
  if (found !== undefined) return found;
  const why =
    containers.filter((container) => nameOrId !== '' && container.id.startsWith(nameOrId)).length > 1
      ? 'several ids have this prefix'
      : 'no container has this id or name';
  throw failure('CRI_NO_SUCH_CONTAINER', 'not-found', nameOrId, why, 'run `portcullis ps -a`');
}

function shortId(container: Container): string {
  return container.id.slice(0, 13);
}

function failure(
  code: string,
  kind: 'invalid' | 'not-found',
  on: string,
  why: string,
  fix: string,
): PortcullisError {
  return new PortcullisError({ code, kind, attempted: 'find container', on, why, fix });
}
