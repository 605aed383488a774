import type { Row } from './row.ts';

const main = 'test/e2e/main-path.test.ts';

/**
 * Each entry point, and the proof that it passes the one place that decides: the verdict for content, the
 * ceiling for power.
 */
export const listenerRows: readonly Row[] = [
  {
    id: 'pull',
    what: 'content: PullImage',
    held: [
      [
        main,
        'refuses an unsigned image with the tree of reasons, and keeps only the verdict and the evidence',
      ],
      ['test/e2e/deny-all.test.ts', "configuration ${index + 1}: ${String(choice.get('the policy'))}"],
    ],
  },
  {
    id: 'import',
    what: 'content: archives and layouts',
    held: [
      ['test/e2e/publishing.test.ts', 'refuses an archive that was changed in transit'],
      ['test/e2e/air-gap.test.ts', 'is pulled and verified after it was loaded from an archive'],
    ],
  },
  {
    id: 'image volumes',
    what: 'content: images that are mounted as volumes',
    held: [
      [
        'test/e2e/image-volume.test.ts',
        'an image that is not admitted for the namespace is refused for every container',
      ],
    ],
  },
  {
    id: 'checkpoint images',
    what: 'content: restore',
    held: [['test/e2e/pod-requests.test.ts', 'a checkpoint, which this version does not support']],
  },
  {
    id: 'profile artifacts',
    what: 'content: entitlements signed by a publisher',
    held: [
      [
        'test/e2e/signed-entitlements.test.ts',
        'an entitlement that this version cannot read admits no container',
      ],
      [
        'test/e2e/signed-entitlements.test.ts',
        'a rule that requires them admits no image without them, and missing permissions are refused with their names',
      ],
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
      [
        'runtime/images/image-store.test.ts',
        'an image that cannot be restored is dropped, and can be pulled again',
      ],
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
      [
        'test/e2e/deny-all.test.ts',
        'covers all ${options.length} options, in ${rows.length} configurations that contain every value',
      ],
      ['test/e2e/deny-all.test.ts', "configuration ${index + 1}: ${String(choice.get('the policy'))}"],
    ],
  },
  {
    id: 'cache',
    what: 'content: a cached verdict applies only under the policy in force, and not after its expiry',
    held: [
      ['runtime/images/decisions.test.ts', 'follow the policy that is in force when they are used'],
      [
        'runtime/images/decisions.test.ts',
        'that admit are not used after their expiry, even if their evidence is not available',
      ],
    ],
  },
  {
    id: 'restart',
    what: 'content: images admitted before a restart are decided again by today’s policy',
    held: [
      ['test/e2e/restart.test.ts', 'decides offline, by today’s policy: CreateContainer needs no registry'],
    ],
  },
  {
    id: 'error paths',
    what: 'content: a decision that fails, or that loses its Worker, is never a verdict',
    held: [
      [
        'trust/verdict/decider.test.ts',
        'a decision that exceeds its time limit is an error, never a verdict, and the next decision is made',
      ],
      [
        'trust/verdict/decider.test.ts',
        'a lost Worker is an error, never a verdict, and the next question starts another Worker',
      ],
    ],
  },
  {
    id: 'create',
    what: 'power: CreateContainer is bound by the ceiling',
    held: [
      [
        'test/e2e/confinement.test.ts',
        '${what} is refused under the ceiling baseline, and granted under privileged',
      ],
      ['entitlements/ceiling/asked.test.ts', 'refuses each named demand that it lacks, all in one error'],
    ],
  },
  {
    id: 'exec',
    what: 'power: executed commands have the filter, capabilities and label of the container',
    held: [
      [
        'test/e2e/confinement.test.ts',
        'has filter, capabilities and no_new_privs in its first process and in commands executed in it',
      ],
      ['test/e2e/streaming.test.ts', 'runs with the confinement of the container'],
    ],
  },
  {
    id: 'update',
    what: 'power: UpdateContainerResources',
    held: [
      [
        'test/e2e/resources.test.ts',
        'that no kernel accepts are refused as invalid arguments, and change nothing',
      ],
    ],
  },
  {
    id: 'TARGET namespaces',
    what: 'power: a container in the PID namespace of another container',
    held: [
      ['test/e2e/shared-pid.test.ts', 'a target must be a running container of the same pod'],
      [
        'test/e2e/shared-pid.test.ts',
        'no container reaches processes of the host through a target unless its own ceiling allows it',
      ],
    ],
  },
  {
    id: 'CDI',
    what: 'power: devices, mounts and hooks of CDI specifications',
    held: [
      [
        'test/e2e/devices.test.ts',
        'specs that users other than root can write are ignored, and hooks that they can change do not run',
      ],
      [
        'test/e2e/devices.test.ts',
        'a path that is not a device, and a device beyond the ceiling, are refused',
      ],
    ],
  },
  {
    id: 'NRI',
    what: 'power: plugins that change a container',
    absent: 'there is no plugin interface for containers',
  },
];
