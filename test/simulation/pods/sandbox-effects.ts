import type { ProcessIdentity } from '../../../base/process/index.ts';
import type { Attachment } from '../../../cni-plugins/index.ts';
import type { SandboxEffects } from '../../../runtime/pods/sandbox-effects.ts';
import type { Incarnation } from '../engine/incarnation.ts';
import { endInfra, giveLink } from './world.ts';
import type { World } from './world.ts';

/** Applies the effects of a sandbox's lifecycle to the simulated world, for one daemon. */
export function sandboxEffects(world: World, life: Incarnation): SandboxEffects {
  const { scheduler } = world;
  return {
    namespaces: {
      claim: ({ hostNetwork, hostIpc }) =>
        life.act('spawn', 'claim of namespaces', () => {
          if (hostNetwork && hostIpc) return undefined;
          const dir = `ns-${world.serial()}`;
          world.namespaces.add(dir);
          return dir;
        }),
      release: (dir) => life.act('removal', 'release of namespaces', () => void world.namespaces.delete(dir)),
    },
    network: {
      attach: ({ id }) => {
        let address = 0;
        return life.act(
          'write',
          `attach of ${id}`,
          () => {
            address = giveLink(world, id);
            world.links.delete(id);
          },
          () => {
            world.links.add(id);
            return { id, ips: [{ address: `10.0.0.${address}/24` }] } as unknown as Attachment;
          },
        );
      },
      detach: (id) =>
        life.act(
          'removal',
          `detach of ${id}`,
          () => void world.links.delete(id),
          () => void world.leases.delete(id),
        ),
      has: (id) => world.leases.has(id),
    },
    files: {
      make: (record) => life.act('write', `files of ${record.id}`, () => void world.podFiles.add(record.id)),
      remove: (id) =>
        life.act('removal', `removal of the files of ${id}`, () => void world.podFiles.delete(id)),
      stand: (id) => world.podFiles.has(id),
    },
    askNames: () => Promise.resolve(),
    cgroups: { place: (_asked, id) => `/portcullis/${id}`, owned: () => [], remove: () => Promise.resolve() },
    infra: {
      isRequired: () => false,
      start: ({ id }) =>
        life.act('spawn', `start of the infra process of ${id}`, () => {
          // An OCI runtime refuses an id that it knows in the same way.
          if (world.infra.has(id)) throw new Error(`the infra process of ${id} exists`);
          const identity: ProcessIdentity = { pid: world.serial(), startTime: id, bootId: world.bootId };
          world.infra.set(id, { identity, alive: true, watcher: undefined });
          return identity;
        }),
      end: ({ id }) =>
        life.act(
          'spawn',
          `end of the infra process of ${id}`,
          () => endInfra(world, id),
          () => void world.infra.delete(id),
        ),
      isAlive: ({ startTime }) =>
        life.look('look at infra process', () => world.infra.get(startTime)?.alive === true),
      watch: ({ startTime }, report) => {
        const infra = world.infra.get(startTime);
        const watcher = (): void => {
          if (life.alive())
            void scheduler
              .step()
              .then(() => (life.alive() && infra?.watcher === watcher ? report() : undefined));
        };
        if (infra !== undefined) infra.watcher = watcher;
        if (infra?.alive === false) watcher();
        return () => {
          if (infra?.watcher === watcher) infra.watcher = undefined;
        };
      },
    },
    hasOwnStack: () => false,
    requireHandler: () => undefined,
    digest: (value) => JSON.stringify(value),
    // All ids have the same length: no id begins with another.
    newId: () => `s${String(world.serial()).padStart(3, '0')}`,
    now: world.wall,
    sleep: (ms) => scheduler.sleep(ms),
    bootId: () => world.bootId,
  };
}
