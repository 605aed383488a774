import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { buildArtifacts } from '../../packaging/artifacts/artifacts.ts';
import { registryName } from '../fixtures/publisher.ts';
import { policyOf } from '../fixtures/stage.ts';
import { findTool } from '../fixtures/tools.ts';
import { imageRegistry } from '../kubeadm/images.ts';

const repository = join(import.meta.dirname, '../..');
const peers = process.env['PEERS'] ?? '/var/cache/portcullis-peers';
/** Debian's root with the packages that a node image of kind needs (`test/peers/get kind-root`). */
export const debianRoot = join(peers, 'kind-root');
/** The version of the programs of `test/peers`. */
export const kubernetesVersion = 'v1.36.3';
/** Where kind expects the socket of the runtime of its nodes. */
const socket = '/run/containerd/containerd.sock';

/**
 * Writes the root of a node image of kind, in which the unit of our daemon replaces the one of containerd.
 * The files that kind itself needs in an image are from kind's own module.
 * @param mirror the registry that answers for every image
 * @param publicKey the file of the key that signs the images
 * @returns the archive of the root
 */
export async function buildNodeRoot(folder: string, mirror: string, publicKey: string): Promise<string> {
  const root = join(folder, 'root');
  const inside = (path: string): string => join(root, path);
  execFileSync('cp', ['-a', debianRoot, root]);
  await installPackage(folder, root);
  for (const part of ['etc', 'kind', 'usr'])
    cpSync(join(filesOfKind(), part), inside(part), { recursive: true });
  for (const path of ['usr/local/bin', 'kind/bin'])
    for (const name of readdirSync(inside(path))) chmodSync(join(inside(path), name), 0o755);
  for (const name of ['kubelet', 'kubeadm', 'kubectl', 'crictl'])
    copyFileSync(findTool(name).path, inside(`usr/bin/${name}`));
  writeFileSync(inside('kind/version'), kubernetesVersion);
  mkdirSync(inside('etc/kubernetes/manifests'), { recursive: true });
  keepUnitsThatStart(root);
  writeSettings(root, mirror, publicKey);
  const archive = join(folder, 'root.tar');
  execFileSync('tar', ['-C', root, '--numeric-owner', '-cf', archive, '.']);
  rmSync(root, { recursive: true });
  return archive;
}

/** Installs our Debian package. */
async function installPackage(folder: string, root: string): Promise<void> {
  const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64';
  const built = join(folder, 'built');
  const names = await buildArtifacts(built, { types: false, architectures: [architecture] });
  const name = names.find((one) => one.endsWith('.deb')) ?? '';
  copyFileSync(join(built, name), join(root, name));
  execFileSync('chroot', [root, 'dpkg', '--install', `/${name}`], { stdio: ['ignore', 'ignore', 'inherit'] });
  rmSync(join(root, name));
}

/** The folder of kind's module with the files of its base image. */
function filesOfKind(): string {
  const words = ['list', '-m', '-f', '{{.Dir}}', 'sigs.k8s.io/kind'];
  const cwd = join(peers, 'src/kind');
  return join(execFileSync('go', words, { cwd, encoding: 'utf8' }).trim(), 'images/base/files');
}

/** Enables the units of a node. No other unit starts, as in the images of kind. */
function keepUnitsThatStart(root: string): void {
  for (const path of ['etc/systemd/system', 'lib/systemd/system'])
    for (const name of ['multi-user', 'local-fs', 'basic'])
      rmSync(join(root, path, `${name}.target.wants`), { recursive: true, force: true });
  rmSync(join(root, 'lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service'), {
    force: true,
  });
  rmSync(join(root, 'etc/systemd/system/containerd.service'));
  symlinkSync('/dev/null', join(root, 'etc/systemd/system/systemd-binfmt.service'));
  for (const unit of ['portcullisd', 'kubelet', 'undo-mount-hacks'])
    execFileSync('systemctl', ['--root', root, 'enable', unit], { stdio: 'ignore' });
  writeFileSync(join(root, 'etc/systemd/journald.conf'), '[Journal]\nReadKMsg=no\n');
}

/** The settings of the daemon: its socket, the mirror, the policy and the network of the pods. */
function writeSettings(root: string, mirror: string, publicKey: string): void {
  const policy = join(root, 'etc/portcullis/policy');
  mkdirSync(policy, { recursive: true });
  copyFileSync(join(repository, 'packaging/policies/kubernetes.yaml'), join(policy, 'kubernetes.yaml'));
  copyFileSync(publicKey, join(policy, 'kubernetes.pub'));
  writeFileSync(
    join(policy, 'pods.yaml'),
    policyOf(`  - images: ["${registryName}/**"]\n    require: { cosign: { key: kubernetes.pub } }\n`),
  );
  const mirrors = Object.fromEntries(
    [imageRegistry, registryName].map((host) => [host, { url: mirror, origin: false }]),
  );
  writeFileSync(
    join(root, 'etc/portcullis/config.yaml'),
    JSON.stringify({ socket, registries: { mirrors } }),
  );
  const conf = join(root, 'etc/cni/net.d');
  mkdirSync(conf, { recursive: true });
  const ipam = {
    type: 'host-local',
    ranges: [[{ subnet: '10.244.0.0/24' }]],
    routes: [{ dst: '0.0.0.0/0' }],
  };
  writeFileSync(
    join(conf, '50-pods.conflist'),
    JSON.stringify({
      cniVersion: '1.0.0',
      name: 'pods',
      plugins: [{ type: 'bridge', bridge: 'pods0', isGateway: true, ipMasq: true, ipam }],
    }),
  );
}
