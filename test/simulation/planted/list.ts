import type { SourceChange } from '../../mutants/mutant.ts';
import type { Kind } from '../engine/history.ts';

/** A defect that the simulator must find: one place of the product, changed while it is loaded. */
export interface PlantedBug extends SourceChange {
  readonly kind: Kind;
  /** The resulting defect. */
  readonly says: string;
}

const containers = 'runtime/containers';
const images = 'runtime/images';
const services = 'cni-plugins/services';
const engine = 'cni-plugins/engine';

/** Texts that a file contains exactly once, and their replacements. */
export const planted: readonly PlantedBug[] = [
  {
    kind: 'pods',
    says: 'an exit whose record cannot be written is not written again',
    file: `${containers}/exit-recorder.ts`,
    from: 'void goOn(id);',
    to: '',
  },
  {
    kind: 'pods',
    says: 'a start that fails leaves the process running',
    file: `${containers}/start.ts`,
    from: "    effects.kill(starting, 'SIGKILL');\n    await records.put",
    to: '    await records.put',
  },
  {
    kind: 'pods',
    says: 'a start of the daemon does not wait for the code that a monitor is about to write',
    file: `${containers}/recovery.ts`,
    from: 'if (effects.isAlive(now) || effects.isMonitored(now))',
    to: 'if (effects.isAlive(now))',
  },
  {
    kind: 'pods',
    says: 'an image that is refused is admitted',
    file: `${containers}/creation.ts`,
    from: 'const admission = await effects.admit(config, sandbox);',
    to: "const admission = await effects.admit(config, sandbox).catch(() => ({ imageId: config.image?.image ?? '', imageRef: '', verdictId: '', token: undefined }));",
  },
  {
    kind: 'pods',
    says: 'a pod without namespaces of its own is ready after the machine has started again',
    file: 'runtime/pods/recovery.ts',
    from: 'if (record.bootId !== undefined && record.bootId !== effects.bootId())',
    to: 'if (false as boolean)',
  },
  {
    kind: 'pods',
    says: 'a pod that is removed keeps its link and its address',
    file: 'runtime/pods/release.ts',
    from: 'if (!isHostNetwork(record)) await effects.network.detach(record.id);',
    to: '',
  },
  {
    kind: 'pods',
    says: 'requests for one pod run concurrently',
    file: 'base/queues/keyed-queue.ts',
    from: 'const mine = before.then(body, body);',
    to: 'const mine = body();',
  },
  {
    kind: 'pods',
    says: 'the row of a write that failed, and took effect, keeps its name',
    file: 'runtime/state/records.ts',
    from: '[...makesRoom, statementFor(record), ...also]',
    to: '[statementFor(record), ...also]',
  },
  {
    kind: 'images',
    says: 'a pull during a removal uses a layer that is being removed',
    file: `${images}/layer-withdrawals.ts`,
    from: 'for (const folder of gone) withdrawn.add(folder);',
    to: '',
  },
  {
    kind: 'images',
    says: 'an image is recorded before its files are on the disk',
    file: `${images}/publish.ts`,
    from: 'await sync.flush();',
    to: '',
  },
  {
    kind: 'images',
    says: 'an image is recorded before the names of its layers are on the disk',
    file: `${images}/layer-workers/layer.worker.ts`,
    from: 'await settleAll(folders.map(syncFolder));',
    to: '',
  },
  {
    kind: 'images',
    says: 'content that was being written when the disk lost writes is recorded',
    file: `${images}/store-sync.ts`,
    from: 'era++;',
    to: '',
  },
  {
    kind: 'images',
    says: 'layers are used unchecked after an unclean stop',
    file: `${images}/image-store.ts`,
    from: 'if (checks.isChecked(needed)) {\n      try {',
    to: '{\n      try {',
  },
  {
    kind: 'images',
    says: 'layers are trusted because of a mark from an earlier boot',
    file: `${images}/shutdown-marker.ts`,
    from: 'before.clean && before.bootId === currentBootId()',
    to: 'before.clean',
  },
  {
    kind: 'images',
    says: 'an image is recorded without its verdict',
    file: `${images}/pull.ts`,
    from: '    },\n    decided.log,\n',
    to: '    },\n    [],\n',
  },
  {
    kind: 'images',
    says: 'a layer below a container is removed with its image',
    file: `${images}/sweep.ts`,
    from: '!rootfs.uses(folder) && ',
    to: '',
  },
  {
    kind: 'images',
    says: 'a pull that ends removes a blob from which a layer is restored',
    file: `${images}/blobs.ts`,
    from: 'if (isOwned(digest) || claimed.has(digest)) return;',
    to: 'if (claimed.has(digest)) return;',
  },
  {
    kind: 'images',
    says: 'a layer is published while its earlier removal is still in progress',
    file: `${images}/claimed-layers.ts`,
    from: 'await withdraw([folder], () => trash.discard(layer.path));',
    to: 'await trash.discard(layer.path);',
  },
  {
    kind: 'images',
    says: 'a container with its own ids uses layers with the ids of the host',
    file: `${images}/mapped-layers.ts`,
    from: 'else await withMappedLayers({ ...input, userNamespace }, layers, lower, overlay);',
    to: 'else await overlay(lower);',
  },
  {
    kind: 'images',
    says: 'layers stay mounted with the ids of a container after its overlay is mounted',
    file: `${images}/mapped-layers.ts`,
    from: '} finally {\n    await dropMappedLayers(kernel, folder);',
    to: '} finally {',
  },
  {
    kind: 'images',
    says: 'a removed container keeps its root with ids that another container gets',
    file: `${images}/rootfs.ts`,
    from: 'await removeMappedRoot(kernel, mappedRoots, id);',
    to: '',
  },
  {
    kind: 'services',
    says: 'a service may be lost at a loss of power although the request was answered',
    file: `${services}/control/store.ts`,
    from: 'waitForDisk(change.isRelisted !== true);',
    to: 'waitForDisk(false);',
  },
  {
    kind: 'services',
    says: 'a change that the kernel refused is answered as done when it is repeated',
    file: `${services}/control/servers-in-force.ts`,
    from: 'if (behind) balancer().reconcile(all);',
    to: '',
  },
  {
    kind: 'services',
    says: 'a service that was removed while no thread programmed the kernel stays in the kernel',
    file: `${services}/nftables/reconcile.ts`,
    from: 'for (const [server, former] of gone) changes.push(elementChanges(formerOf(filter, holding, server, former), undefined));',
    to: '',
  },
  {
    kind: 'services',
    says: 'the thread continues with a change that the disk did not store',
    file: `${services}/control/services.worker.ts`,
    from: 'if (!isPortcullisError(thrown) || isStorages(thrown))',
    to: 'if (!isPortcullisError(thrown))',
  },
  {
    kind: 'services',
    says: 'a mode that another program removed is not noticed',
    file: `${services}/nftables/readout.ts`,
    from: 'if (missing.size > 0) return undefined;',
    to: '',
  },
  {
    kind: 'attachments',
    says: 'a detached pod keeps its elements in the rules if the kernel refused the change at first',
    file: `${engine}/pods/teardown.ts`,
    from: 'for (const id of going.keys()) unbind(id);',
    to: '',
  },
  {
    kind: 'attachments',
    says: 'an address is free before the link that has it is gone',
    file: `${engine}/pods/teardown.ts`,
    from: 'if (record !== undefined && kernel.link(record.spec.hostInterface) !== undefined) continue;',
    to: '',
  },
  {
    kind: 'attachments',
    says: 'a link is created before the rules match it',
    file: `${engine}/pods/attacher.ts`,
    from: 'rules.change(record, addPod(record));\n        make(record, pod);',
    to: 'make(record, pod);',
  },
  {
    kind: 'attachments',
    says: 'an attachment that was begun when the daemon was killed stays unfinished',
    file: 'cni-plugins/engine/reconcile/plan.ts',
    from: "...own.filter(({ state }) => state !== 'ready').map(({ id }): Operation => ({ do: 'release', id })),",
    to: '',
  },
  {
    kind: 'attachments',
    says: 'a class is not recorded before the kernel has it',
    file: `${engine}/pods/link-class.ts`,
    from: 'orKept(() => store.setClass(id, linkClass, asked));',
    to: '',
  },
  {
    kind: 'attachments',
    says: 'tables are removed while links without an owner still exist',
    file: `${engine}/pods/network-core.ts`,
    from: 'operations.forEach(perform);\n      if (!isKept) rules.remove();',
    to: 'if (!isKept) rules.remove();\n      operations.forEach(perform);',
  },
  {
    kind: 'attachments',
    says: 'a link that could not be released at the start is not looked for again',
    file: `${engine}/thread/link-watch.ts`,
    from: 'let isLost = true;',
    to: 'let isLost = false;',
  },
  {
    kind: 'attachments',
    says: 'a namespace that cannot be opened because no descriptor is free is treated as removed',
    file: 'cni-plugins/namespaces/netns.ts',
    from: 'if (leavesUnknown(thrown)) throw thrown;',
    to: '',
  },
  {
    kind: 'attachments',
    says: 'a repeated request creates the attachment again, with another address',
    file: `${engine}/pods/attacher.ts`,
    from: "if (existing?.state === 'ready') return { record: existing };",
    to: '',
  },
  {
    kind: 'attachments',
    says: 'leases of an earlier boot stay leased',
    file: 'cni-plugins/database/database.ts',
    from: 'forgetFormerBoots(db, bootOf());',
    to: '',
  },
  {
    kind: 'attachments',
    says: 'events of links are lost if the check that they trigger fails',
    file: `${engine}/thread/link-watch.ts`,
    from: 'isLost ||= isOurs || core.linksLost() > 0;\n      if (isLost) isLost =',
    to: 'if (isOurs || core.linksLost() > 0 || isLost) isLost =',
  },
];
