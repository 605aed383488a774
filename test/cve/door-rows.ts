import type { Row } from './row.ts';

const main = 'test/e2e/main-path.test.ts';

/** Each way in, and that it leads past the one place that decides: content past the verdict, power past the ceiling. */
export const doorRows: readonly Row[] = [
  {
    id: 'pull',
    what: 'content: PullImage',
    held: [
      [main, 'refuses an unsigned image with the tree of reasons, and keeps nothing but verdict and evidence'],
      ['test/e2e/deny-all.test.ts', "configuration ${index + 1}: ${String(choice.get('the policy'))}"],
    ],
  },
  {
    id: 'import',
    what: 'content: archives and layouts',
    held: [
      ['test/e2e/publishing.test.ts', 'refuses an archive that was changed on the way'],
      ['test/e2e/air-gap.test.ts', 'is pulled and verified as an archive has brought it'],
    ],
  },
  {
    id: 'image volumes',
    what: 'content: images that are mounted as volumes',
    held: [['test/e2e/image-volume.test.ts', 'an image that is not admitted for the namespace is refused, whatever container asks']],
  },
  {
    id: 'checkpoint images',
    what: 'content: restore',
    held: [['test/e2e/pod-requests.test.ts', 'a checkpoint, which this version does not make']],
  },
  {
    id: 'profile artifacts',
    what: 'content: entitlements that a publisher has signed',
    held: [
      ['test/e2e/signed-entitlements.test.ts', 'one that this version can not read admits no container'],
      ['test/e2e/signed-entitlements.test.ts', 'a rule that asks for them admits nothing without, and what they lack is refused by name'],
    ],
  },
  {
    id: 'lazy content',
    what: 'content: layers that are fetched when they are read',
    absent: 'every layer is fetched and verified whole before a container starts',
  },
  {
    id: 'repair',
    what: 'content: files that a power cut damaged',
    held: [
      ['runtime/images/image-store.test.ts', 'files that a power cut emptied are restored from the blob'],
      ['runtime/images/image-store.test.ts', 'an image that cannot be restored is dropped, and can be pulled again'],
    ],
  },
  {
    id: 'decision at create',
    what: 'content: CreateContainer decides again, by namespace, name and today’s policy',
    held: [
      [main, 'decides again at CreateContainer: the namespace'],
      [main, 'decides again at CreateContainer: the name'],
      [main, 'decides again at CreateContainer: today’s policy'],
    ],
  },
  {
    id: 'options',
    what: 'content: no combination of options skips the verdict',
    held: [
      ['test/e2e/deny-all.test.ts', 'takes every option: ${options.length} of them, in ${rows.length} configurations that hold every pair'],
      ['test/e2e/deny-all.test.ts', "configuration ${index + 1}: ${String(choice.get('the policy'))}"],
    ],
  },
  {
    id: 'cache',
    what: 'content: a verdict that is remembered holds for the policy in force, and not after its end',
    held: [
      ['runtime/images/decisions.test.ts', 'are by the policy that is in force when they are used'],
      ['runtime/images/decisions.test.ts', 'that admit are not used after their end, though what they rested on is not at hand'],
    ],
  },
  {
    id: 'restart',
    what: 'content: what was admitted before a restart is decided again by today’s policy',
    held: [['test/e2e/restart.test.ts', 'decides offline, by today’s policy: CreateContainer needs no registry']],
  },
  {
    id: 'error paths',
    what: 'content: a decision that fails, or ends with its Worker, is never a verdict',
    held: [
      ['trust/verdict/decider.test.ts', 'a decision that takes longer than it may is an error, never a verdict, and the next one is made'],
      ['trust/verdict/decider.test.ts', 'a Worker that is gone is an error, never a verdict, and the next question starts another'],
    ],
  },
  {
    id: 'create',
    what: 'power: CreateContainer is bound by the ceiling',
    held: [
      ['test/e2e/confinement.test.ts', '${what} is refused under the ceiling baseline, by its name, and granted under privileged'],
      ['entitlements/ceiling/asked.test.ts', 'refuses each named demand that it lacks, all in one error'],
    ],
  },
  {
    id: 'exec',
    what: 'power: what is executed carries the filter, capabilities and label of the container',
    held: [
      ['test/e2e/confinement.test.ts', 'carries filter, capabilities and no_new_privs, in its first process and in what is executed in it'],
      ['test/e2e/streaming.test.ts', 'runs with the confinement of the container'],
    ],
  },
  {
    id: 'update',
    what: 'power: UpdateContainerResources',
    held: [['test/e2e/resources.test.ts', 'that no kernel takes are refused as bad arguments, and change nothing']],
  },
  {
    id: 'TARGET namespaces',
    what: 'power: a container in the PID namespace of another',
    held: [
      ['test/e2e/shared-pid.test.ts', 'a target must be a running container of the same pod'],
      ['test/e2e/shared-pid.test.ts', 'through a target nobody reaches the host’s processes beyond his ceiling'],
    ],
  },
  {
    id: 'CDI',
    what: 'power: devices, mounts and hooks of CDI specifications',
    held: [
      ['test/e2e/devices.test.ts', 'what others could have written does not count, and hooks that others can change do not run'],
      ['test/e2e/devices.test.ts', 'what is no device, and what the ceiling does not hold, is refused'],
    ],
  },
  { id: 'NRI', what: 'power: plug-ins that change a container', absent: 'there is no plug-in interface for containers' },
];
