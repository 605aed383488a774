import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { textFile } from '../archives/files.ts';
import type { PackageFile } from '../archives/files.ts';
import { filesOf, withAuthorities } from '../oci/base-layer.ts';
import { contentOf } from '../oci/debian-packages.ts';
import { identityFile } from '../../node/index.ts';
import { packageFiles } from './packages.ts';
import type { Debs } from './packages.ts';
import type { ReadRecipe, Recipe } from './recipe.ts';

const scripts = join(import.meta.dirname, 'scripts');
const inImage = 'usr/lib/node-image';
/** Where the public key of updates is in the image: the default of `portcullis node image update`. */
const updateKey = 'etc/portcullis/node-image.pub';

/** Folders on which something is mounted. */
export const mountPoints = ['boot', 'dev', 'proc', 'root', 'run', 'sys', 'tmp', 'var', 'etc/cni/net.d'];

/** Programs of busybox that the scripts, the launcher of the command and the kernel call. */
const applets = [
  ...[
    'awk',
    'basename',
    'cat',
    'chmod',
    'chown',
    'cp',
    'cut',
    'date',
    'dd',
    'dirname',
    'dmesg',
    'echo',
    'find',
  ],
  ...[
    'free',
    'grep',
    'head',
    'hostname',
    'id',
    'ip',
    'kill',
    'ln',
    'logger',
    'logread',
    'ls',
    'mkdir',
    'mkfifo',
  ],
  ...[
    'mount',
    'mv',
    'ps',
    'readlink',
    'rm',
    'sed',
    'sh',
    'sleep',
    'sort',
    'stat',
    'sync',
    'syslogd',
    'tail',
    'touch',
  ],
  ...['tr', 'udhcpc', 'umount', 'uname', 'wc'],
];
const systemApplets = ['init', 'lsmod', 'modprobe', 'poweroff', 'reboot', 'rmmod', 'sysctl'];

/** Documents of packages, and files for programs that the image does not have. Licences stay. */
const unwanted = [
  /^usr\/share\/(?!doc\/|ca-certificates\/|common-licenses\/)/u,
  /^usr\/share\/doc\/(?!.*\/copyright$)/u,
  /^usr\/lib\/(?:systemd|udev|tmpfiles\.d|sysusers\.d|modprobe\.d)\//u,
  /^etc\/(?:cron|init\.d|default|dpkg|profile\.d|update-motd\.d|logrotate)/u,
  /^(?:boot\/System|var\/|tmp\/|home\/|root\/|mnt\/)/u,
];

export const isWantedInRoot = (path: string): boolean => !unwanted.some((pattern) => pattern.test(path));

/**
 * Returns the files of the root of an image: of the recorded packages, of the package of Portcullis, of the
 * recipe, and the scripts of the boot. A file of the recipe replaces a file of a package.
 * @param portcullis path of our own .deb
 * @throws Error if two packages have a file at one path
 */
export async function rootFiles(
  read: ReadRecipe,
  debs: Debs,
  portcullis: string,
): Promise<readonly PackageFile[]> {
  const { recipe, folder } = read;
  const packaged: PackageFile[] = [];
  for (const name of recipe.packages) packaged.push(...(await packageFiles(debs, name, isWantedInRoot)));
  packaged.push(...(await filesOf(contentOf(portcullis), isWantedInRoot)));
  packaged.push(...(await packageFiles(debs, 'busybox-static', (path) => path === 'usr/bin/busybox')));
  packaged.push(...(await kernelModules(debs, recipe)));
  const own = [...bootFiles(recipe), ...systemFiles(recipe), ...links(), ...keyOf(read)];
  const given = (recipe.files ?? []).map(({ path, content, from, executable = false }) => ({
    path: path.slice(1),
    content: {
      bytes: content === undefined ? readFileSync(resolve(folder, from ?? '')) : Buffer.from(content),
      executable,
    },
  }));
  return merged([withAuthorities(packaged), own, given]);
}

/** Returns the modules of the kernel, without what a package has beside them. */
function kernelModules(debs: Debs, { kernel }: Recipe): Promise<readonly PackageFile[]> {
  return packageFiles(debs, kernel.package, (path) => path.startsWith('usr/lib/modules/'));
}

/** Later lists replace files of earlier ones. Within one list, a path may occur once. */
function merged(lists: readonly (readonly PackageFile[])[]): readonly PackageFile[] {
  const all = new Map<string, PackageFile>();
  for (const list of lists) {
    const seen = new Set<string>();
    for (const file of list) {
      if (seen.has(file.path)) throw new Error(`two packages have the file ${file.path}`);
      seen.add(file.path);
      all.set(file.path, file);
    }
  }
  return [...all.values()];
}

function bootFiles(recipe: Recipe): readonly PackageFile[] {
  const script = (name: string): PackageFile =>
    textFile(`${inImage}/${name}`, readFileSync(join(scripts, name), 'utf8'), true);
  return [
    ...['start', 'serve', 'confirm', 'follow', 'dhcp'].map(script),
    textFile('etc/inittab', inittab(recipe)),
  ];
}

/** Returns the table of init(8) of busybox: what runs once, and what starts again when it ends. */
export function inittab({ services = [], updates, health }: Recipe): string {
  const serve = (name: string, command: readonly string[]): string =>
    `::respawn:/${inImage}/serve ${name} ${command.join(' ')}`;
  return [
    `::sysinit:/${inImage}/start`,
    // In memory, so that a log never fills the state: logread(1) shows it.
    '::respawn:/usr/bin/syslogd -n -C4096',
    `::respawn:/usr/bin/udhcpc -f -i eth0 -t 5 -A 5 -s /${inImage}/dhcp >/dev/null 2>&1`,
    serve('portcullisd', ['/usr/bin/portcullisd']),
    ...services.map(({ name, command }) => serve(name, command)),
    `::once:/${inImage}/confirm ${health?.timeoutSeconds ?? 300}`,
    ...(updates === undefined
      ? []
      : [`::respawn:/${inImage}/follow ${updates.source} ${updates.everySeconds}`]),
    '::ctrlaltdel:/usr/sbin/reboot',
    '::shutdown:/usr/bin/umount -a -r',
    '',
  ].join('\n');
}

function systemFiles({
  metadata: { name },
  version,
  hostname = name,
  kernel,
}: Recipe): readonly PackageFile[] {
  return [
    textFile(identityFile.slice(1), `${JSON.stringify({ name, version })}\n`),
    textFile('etc/hostname', `${hostname}\n`),
    textFile('etc/hosts', `127.0.0.1 localhost\n127.0.1.1 ${hostname}\n::1 localhost\n`),
    textFile('etc/modules', kernel.modules.map((module) => `${module}\n`).join('')),
    textFile(
      'etc/passwd',
      'root:x:0:0:root:/root:/usr/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n',
    ),
    textFile('etc/group', 'root:x:0:\ntty:x:5:\nnogroup:x:65534:\n'),
    textFile('etc/nsswitch.conf', 'passwd: files\ngroup: files\nhosts: files dns\n'),
    textFile('etc/sysctl.conf', sysctls),
    { path: 'etc/resolv.conf', content: { target: '/run/resolv.conf' } },
    { path: 'etc/mtab', content: { target: '/proc/self/mounts' } },
  ];
}

/** Settings that packets of pods need, and limits for many containers, as systemd sets them. */
const sysctls = `net.ipv4.ip_forward = 1
net.ipv4.conf.all.forwarding = 1
net.ipv6.conf.all.forwarding = 1
fs.inotify.max_user_instances = 8192
fs.inotify.max_user_watches = 524288
kernel.pid_max = 4194304
`;

/** Merged folders, and the programs of busybox. */
function links(): readonly PackageFile[] {
  const folders = ['bin', 'lib', 'lib64', 'sbin'].map((name) => ({
    path: name,
    content: { target: `usr/${name}` },
  }));
  return [
    ...folders,
    ...applets.map((name) => ({ path: `usr/bin/${name}`, content: { target: 'busybox' } })),
    ...systemApplets.map((name) => ({ path: `usr/sbin/${name}`, content: { target: '../bin/busybox' } })),
  ];
}

function keyOf({ recipe: { updates }, folder }: ReadRecipe): readonly PackageFile[] {
  if (updates === undefined) return [];
  return [
    { path: updateKey, content: { bytes: readFileSync(resolve(folder, updates.key)), executable: false } },
  ];
}
