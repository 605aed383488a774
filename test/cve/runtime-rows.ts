import type { Row } from './row.ts';

const images = 'test/e2e/hostile-images.test.ts';
const folders = 'test/e2e/kernel-folders.test.ts';
const requests = 'test/e2e/pod-requests.test.ts';
const here = 'test/cve/runtime.test.ts';
const user = 'runtime/containers/bundle/user.test.ts';
const imageUser = 'runtime/services/image-user.test.ts';
const advisories = 'runtime/oci/advisories.test.ts';
const linksOfDev =
  '/${name} is a symlink to a folder of the host (CVE-2026-41579, CVE-2026-47766), under ${handler}';
const uncovers =
  'a volume at /dev does not uncover a masked file (CVE-2025-31133), even if the ceiling grants privileged (${handler})';
const noCheckpoints = 'a checkpoint, which this version does not support';
const noAnnotation = 'annotations and labels of pod and image never reach the runtime';
const noCopy = 'no request copies files into or out of a container';

/** Runtimes and container engines. */
export const runtimeRows: readonly Row[] = [
  {
    id: 'CVE-2019-5736',
    what: 'runc: a container overwrites the runtime through /proc/self/exe',
    held: [
      [images, 'the program is the runtime itself (CVE-2019-5736), under ${handler}'],
      [
        'runtime/oci/sealed-program.test.ts',
        'crun runs from a copy that no process can write to, and that remains when its file is removed',
      ],
    ],
  },
  {
    id: 'CVE-2024-21626',
    what: 'runc: a working directory leads through a leaked descriptor to the host',
    held: [
      [
        images,
        'the working directory is a descriptor of the runtime, by name and by symlink (CVE-2024-21626), under ${handler}',
      ],
      [
        folders,
        'a working directory is resolved through volumes, and again before each command (CVE-2024-21626) (${handler})',
      ],
      [folders, 'a command inherits no descriptors of the runtime (${handler})'],
      ['base/kernel/files/files.test.ts', 'descriptors are closed in a started program'],
    ],
  },
  {
    id: 'CVE-2024-45310',
    what: 'runc: a racing symlink makes it create files on the host',
    held: [
      [advisories, "${program} ${version}${debian ? ' of Debian' : ''}: ${open.length} open"],
      [
        folders,
        'a destination inside another volume is resolved through the links of that volume (${handler})',
      ],
    ],
  },
  {
    id: 'CVE-2025-31133',
    what: 'runc: masked paths are bypassed by replacing /dev/null',
    held: [
      [folders, uncovers],
      [
        'runtime/container-mounts/created-container.test.ts',
        'is refused if a masked path shows procfs or sysfs, also through another file of it',
      ],
    ],
  },
  {
    id: 'CVE-2025-52565',
    what: 'runc: /dev/console is bound on a symlink',
    held: [
      [
        folders,
        'a device is created on such a path only under a name that the runtime does not need (${handler})',
      ],
      [folders, 'a volume is mounted on such a path only if it is harmless (${handler})'],
    ],
  },
  {
    id: 'CVE-2025-52881',
    what: 'runc: writes to /proc are redirected by racing mounts',
    held: [
      [folders, 'a volume is mounted on such a path only if it is harmless (${handler})'],
      [
        'runtime/container-mounts/created-container.test.ts',
        'is refused if a mount is not at its destination',
      ],
    ],
  },
  {
    id: 'CVE-2026-41579',
    what: 'runc: /dev of an image is a symlink, and the host is written to',
    held: [[images, linksOfDev]],
  },
  {
    id: 'CVE-2026-47766',
    what: 'crun: /dev of an image is a symlink, and devices are made on the host',
    held: [[images, linksOfDev]],
  },
  {
    id: 'CVE-2026-30892',
    what: 'crun: `exec --user` is parsed wrongly, and the command runs as another user',
    held: [
      [
        'test/e2e/life-cycle.test.ts',
        'runs as the user, in the folder and with the variables of the container',
      ],
      [advisories, 'strict refuses a runtime with the ids of its flaws, and accepts one without flaws'],
    ],
  },
  {
    id: 'CVE-2025-24965',
    what: 'crun: the krun handler writes a file through a symlink of the image',
    held: [[advisories, "${program} ${version}${debian ? ' of Debian' : ''}: ${open.length} open"]],
  },
  {
    id: 'CVE-2026-88264',
    what: 'crun: listed by doctor for versions that have it',
    held: [[advisories, "${program} ${version}${debian ? ' of Debian' : ''}: ${open.length} open"]],
  },
  {
    id: 'CVE-2026-88265',
    what: 'crun: listed by doctor for versions that have it',
    held: [[advisories, "${program} ${version}${debian ? ' of Debian' : ''}: ${open.length} open"]],
  },
  {
    id: 'CVE-2022-24769',
    what: 'moby, containerd: inheritable capabilities are not empty',
    held: [
      [
        'entitlements/compile/live-kernel.test.ts',
        '${runtime}: the inheritable set is empty without ambient capabilities',
      ],
    ],
  },
  {
    id: 'CVE-2022-0811',
    what: 'CRI-O: a "+" in a sysctl value sets kernel.core_pattern',
    held: [
      [requests, 'a pod ${what}'],
      ['test/e2e/security-context.test.ts', 'is refused a sysctl ${what}, and leaves nothing'],
      ['base/kernel/namespaces/sysctl.test.ts', 'no name leads out of the part of /proc/sys that it claims'],
    ],
  },
  {
    id: 'CVE-2024-3154',
    what: 'CRI-O: an annotation sets properties of a systemd unit',
    held: [['test/e2e/confinement.test.ts', noAnnotation]],
  },
  {
    id: 'CVE-2026-53488',
    what: 'containerd: a label of the image becomes a command on the host',
    held: [['test/e2e/confinement.test.ts', noAnnotation]],
  },
  {
    id: 'CVE-2022-23648',
    what: 'containerd: a VOLUME of the image copies files of the host',
    held: [
      [images, 'VOLUME leads out of the image (CVE-2022-23648)'],
      ['test/e2e/image-volume.test.ts', 'a declared volume behind a dangling symlink is refused'],
    ],
  },
  {
    id: 'CVE-2024-5154',
    what: 'CRI-O: a symlink of the image leads a write to the host (/etc/mtab)',
    held: [[images, '/etc and the destination of a volume are symlinks to the host, under ${handler}']],
  },
  {
    id: 'CVE-2022-1708',
    what: 'CRI-O: ExecSync output fills memory or disk',
    held: [
      [
        'test/e2e/life-cycle.test.ts',
        'output beyond 16 MiB is not kept: the command still ends, and the call fails',
      ],
    ],
  },
  {
    id: 'CVE-2022-4318',
    what: 'CRI-O: a line feed in a user name adds a line to /etc/passwd',
    held: [
      [requests, 'a container ${what}'],
      [user, 'user: ${name} is refused'],
      [
        here,
        'line feeds in HOME, variables and names add no lines to files of the container (CVE-2022-4318, CVE-2026-15809)',
      ],
    ],
  },
  {
    id: 'CVE-2026-15809',
    what: 'CRI-O: a real line feed in HOME adds a line to /etc/passwd',
    held: [
      [
        here,
        'line feeds in HOME, variables and names add no lines to files of the container (CVE-2022-4318, CVE-2026-15809)',
      ],
    ],
  },
  {
    id: 'CVE-2024-40635',
    what: 'containerd: a user id beyond 32 bits wraps to root',
    held: [
      [images, 'USER ${user} is refused and never becomes root (CVE-2024-40635)'],
      [user, 'user: ${name} is refused'],
    ],
  },
  {
    id: 'CVE-2026-46680',
    what: 'containerd: an image evades runAsNonRoot by the way it writes its user',
    held: [
      [imageUser, 'status never reports a non-root user to the kubelet if root would run: ${form}'],
      [imageUser, 'status and container agree on the user, for any USER of an image'],
      [
        here,
        'the user id that status reports is the one that runs, in any spelling of USER (CVE-2026-46680)',
      ],
    ],
  },
  {
    id: 'CVE-2026-47262',
    what: 'containerd: /etc/group is read without a bound',
    held: [
      [images, '/etc/passwd leads out of the image, and /etc/group is too large (CVE-2026-47262)'],
      [user, 'user: only files of the image are read, never files of the host, and their size is limited'],
    ],
  },
  {
    id: 'CVE-2025-4437',
    what: 'CRI-O: a huge /etc/passwd is read into memory',
    held: [
      [user, 'user: only files of the image are read, never files of the host, and their size is limited'],
    ],
  },
  {
    id: 'CVE-2021-41103',
    what: 'containerd: every user can enter the folders of containers',
    held: [
      [here, 'another user of the host reads nothing below root and state (CVE-2021-41103, CVE-2024-25621)'],
    ],
  },
  {
    id: 'CVE-2024-25621',
    what: 'containerd: folders are created with modes that are too permissive',
    held: [
      [here, 'another user of the host reads nothing below root and state (CVE-2021-41103, CVE-2024-25621)'],
      ['runtime/cri/socket.test.ts', 'the socket is 0660 root:root: another user cannot connect'],
    ],
  },
  {
    id: 'CVE-2020-15257',
    what: 'containerd: an abstract socket is reached by pods on the host’s network',
    held: [
      [here, 'no socket of the daemon or its monitors is abstract (CVE-2020-15257)'],
      [
        'runtime/cri/socket.test.ts',
        'a client that gets past the file mode with a wrong uid is refused and logged',
      ],
    ],
  },
  {
    id: 'CVE-2025-64329',
    what: 'containerd: dropped attach sessions leak memory',
    held: [
      ['test/e2e/streaming.test.ts', 'dropped sessions leave nothing'],
      ['test/e2e/streaming.test.ts', 'serves over TLS and enforces its limits, if configured'],
      [
        'runtime/streaming/streaming-service.test.ts',
        'limits waiting and running sessions, for each container and in total',
      ],
    ],
  },
  {
    id: 'CVE-2026-53495',
    what: 'containerd: ExecSync waits for processes that keep its output open',
    held: [
      ['test/e2e/life-cycle.test.ts', 'a grandchild that holds the output open does not delay the answer'],
      [
        'test/e2e/exec-sync.test.ts',
        'processes that a command leaves running stay, and do not delay the answer',
      ],
      [
        'test/e2e/streaming.test.ts',
        'a background process that holds the output open does not delay the end of the session',
      ],
    ],
  },
  {
    id: 'GHSA-rp3h-jf77-q9p4',
    what: 'containerd 2.3.5: fixed with CVE-2026-53495; no public text describes it',
    absent: 'no public text describes the flaw; tests cover its companion CVE-2026-53495',
  },
  {
    id: 'cri-o#8968',
    what: 'CRI-O: a log path or pod uid leads out of its folder, and LinkLogs unmounts any path',
    held: [
      [requests, 'a container ${what}'],
      [requests, 'a pod ${what}'],
      ['runtime/containers/decisions.test.ts', 'log paths stay below the log folder'],
    ],
  },
  {
    id: 'CVE-2025-0750',
    what: 'CRI-O: a log path leads out of its folder',
    held: [
      [requests, 'a container ${what}'],
      ['runtime/containers/decisions.test.ts', 'log paths stay below the log folder'],
    ],
  },
  {
    id: 'CVE-2024-8676',
    what: 'CRI-O: a checkpoint archive brings its own mounts',
    held: [[requests, noCheckpoints]],
  },
  {
    id: 'CVE-2026-50195',
    what: 'checkpoint archives replace the image of a tag',
    held: [[requests, noCheckpoints]],
  },
  {
    id: 'CVE-2026-53489',
    what: 'checkpoint archives write through a link at the log',
    held: [[requests, noCheckpoints]],
  },
  { id: 'CVE-2026-53492', what: 'checkpoint archives bring CDI devices', held: [[requests, noCheckpoints]] },
  {
    id: 'CVE-2025-0426',
    what: 'kubelet: checkpoints fill the disk',
    held: [
      [requests, noCheckpoints],
      ['test/e2e/resources.test.ts', 'checkpoints are refused with the reason'],
      ['runtime/checkpoints/capture.test.ts', 'ends when the changed files are larger than allowed'],
    ],
  },
  {
    id: 'CVE-2019-14271',
    what: 'docker cp: a helper loads libraries of the container',
    held: [
      [here, 'programs of an image never run on the host in place of ours (CVE-2019-14271, CVE-2026-41567)'],
    ],
  },
  {
    id: 'CVE-2026-41567',
    what: 'moby: the decompressor is looked up inside the container’s root',
    held: [
      [here, 'programs of an image never run on the host in place of ours (CVE-2019-14271, CVE-2026-41567)'],
    ],
  },
  { id: 'CVE-2026-41568', what: 'moby: docker cp races with mounts', absent: noCopy },
  { id: 'CVE-2026-42306', what: 'moby: docker cp races with mounts', absent: noCopy },
  {
    id: 'CVE-2025-47291',
    what: 'containerd 2.0: containers of pods with a user namespace run outside the cgroup of the pod',
    held: [[here, 'a container of a pod with a user namespace is in the cgroup of its pod (CVE-2025-47291)']],
  },
  {
    id: 'CVE-2025-47290',
    what: 'containerd 2.1: a race during unpacking changes files of the host',
    held: [
      ['runtime/images/unpack/unpack-layer.test.ts', 'no archive can change anything outside its layer'],
      ['base/kernel/files/files.test.ts', 'no path leaves the root'],
    ],
  },
  {
    id: 'CVE-2026-55686',
    what: 'Podman: WORKDIR follows a symlink of the image to the host',
    held: [[folders, 'volumes and working directories of the image are refused on such paths (${handler})']],
  },
  {
    id: 'CVE-2025-9566',
    what: 'Podman: `kube play` writes a ConfigMap through a symlink of a volume',
    absent: 'volumes are filled by the kubelet; the runtime writes nothing into them',
  },
  {
    id: 'CVE-2026-34040',
    what: 'moby: a body that is too large for the authorization plugin still reaches the daemon',
    held: [
      [
        'runtime/cri/server.test.ts',
        'messages of 16 MiB pass in both directions, larger ones are RESOURCE_EXHAUSTED',
      ],
      [
        'trust/notary/trust-service.test.ts',
        'refuses an invalid upload with the documented error, and changes nothing',
      ],
    ],
  },
  {
    id: 'CVE-2026-33997',
    what: 'moby: the comparison of plugin privileges is off by one',
    held: [
      [
        'entitlements/compare/lattice.test.ts',
        'explain a negative answer with something that one profile grants and the other does not',
      ],
      ['entitlements/compare/brute-force.test.ts', 'exhaustive comparison on small domains'],
    ],
  },
];
