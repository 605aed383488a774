import type { Database } from '../../base/storage/index.ts';
import type { RuntimeBounds } from '../../entitlements/index.ts';
import type { LinuxContainerResources, PodSandboxConfig } from '../cri/contract/contract.types.ts';
import type { JudgedImage } from '../images/types.ts';
import { openRecords } from '../state/records.ts';
import type { Keyed, Records } from '../state/records.ts';

/** A pod that was created through the proxy, or that existed before it. */
export interface ProxySandbox extends Keyed {
  readonly config: PodSandboxConfig;
  /** The pod existed before the proxy: its `config` is what the first request for a container said. */
  readonly isAsDescribed?: true;
}

/** A container that was created through the proxy. */
export interface ProxyContainer extends Keyed {
  readonly sandboxId: string;
  /** The namespace of its pod. */
  readonly namespace: string;
  readonly imageId: string;
  readonly userSpecified: string;
  readonly verdictId: string;
  /** The images of its volumes, and the verdicts that admitted them. Absent: none, or an older record. */
  readonly volumes?: readonly Pick<ProxyContainer, 'imageId' | 'userSpecified' | 'verdictId'>[];
  /** The limits of its ceilings, and what it has. Absent: there are none. */
  readonly bounded?: {
    readonly limits: RuntimeBounds['resources'];
    readonly resources: LinuxContainerResources;
  };
}

/** Returns the image of a container and the images of its volumes. */
export function imagesOf(container: ProxyCreation['container']): readonly JudgedImage[] {
  const { imageId, userSpecified, verdictId, namespace, volumes = [] } = container;
  return [{ imageId, userSpecified, verdictId }, ...volumes].map((image) => ({ ...image, namespace }));
}

/** A container that the backend was asked to create. Its id is known, and it is recorded, with the answer. */
export interface ProxyCreation extends Keyed {
  readonly sandboxId: string;
  /** The backend has at most one container of a pod with these two. */
  readonly metadata: { readonly name: string; readonly attempt: number };
  readonly container: Omit<ProxyContainer, keyof Keyed>;
}

/** Records that the proxy needs about pods and containers of the backend. */
export interface ProxyRecords {
  readonly sandboxes: Records<ProxySandbox>;
  readonly containers: Records<ProxyContainer>;
  /** In the table of the containers, and never among them. */
  readonly creations: Pick<Records<ProxyCreation>, 'list' | 'put' | 'delete'>;
}

/** @throws the errors of the database */
export async function openProxyRecords(database: Database): Promise<ProxyRecords> {
  const [sandboxes, all] = await Promise.all([
    openRecords<ProxySandbox>(database, 'sandbox'),
    openRecords<ProxyContainer | ProxyCreation>(database, 'container'),
  ]);
  const created = (record: ProxyContainer | ProxyCreation | undefined): ProxyContainer | undefined =>
    record === undefined || isCreation(record) ? undefined : record;
  const containers: Records<ProxyContainer> = {
    ...all,
    get: (id) => created(all.get(id)),
    byName: (name) => created(all.byName(name)),
    find: (idOrPrefix) => created(all.find(idOrPrefix)),
    list: () => all.list().filter((record): record is ProxyContainer => !isCreation(record)),
  };
  return { sandboxes, containers, creations: { ...all, list: () => all.list().filter(isCreation) } };
}

function isCreation(record: ProxyContainer | ProxyCreation): record is ProxyCreation {
  return 'container' in record;
}
