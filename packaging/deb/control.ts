import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export const architectures = ['amd64', 'arm64'] as const;
export type Architecture = (typeof architectures)[number];

export const maintainer = 'Portcullis maintainers <maintainers@portcullis.dev>';
export const homepage = 'https://portcullis.dev';

/** Symbols of glibc that the pinned Node needs (`objdump -T`), and the kernel interfaces of koffi. */
const leastGlibc = '2.28';

const description = `container runtime for Kubernetes that runs only verified images
 Portcullis serves the Container Runtime Interface (CRI) to a kubelet. It runs
 an image only after your trust policy admits that image: by signatures of
 cosign, Notary Project or GPG, by attestations, or by TUF metadata.
 .
 The package contains the daemon portcullisd, the command portcullis, and the
 Node.js that both run on. The service is installed, and neither enabled nor
 started: enable it after "portcullis setup".`;

/**
 * Returns the packages of the table in packaging/debian-packages that the daemon needs.
 * @param root the repository
 */
export function dependencies(root: string): string[] {
  const rows = readFileSync(join(root, 'packaging/debian-packages'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split('|'));
  return [
    `libc6 (>= ${leastGlibc})`,
    'init-system-helpers (>= 1.52)',
    // `systemctl reload` calls /bin/kill.
    'procps',
    ...rows.flatMap(([name = '', , needs]) => (needs === 'daemon' ? [name] : [])).sort(),
  ];
}

/** Returns the file `control` of a binary package (Debian policy, 5.3). */
export function control(fields: {
  readonly version: string;
  readonly architecture: Architecture;
  readonly depends: readonly string[];
  /** Size of the installed files, in KiB. */
  readonly installedSize: number;
}): string {
  return `${[
    'Package: portcullis',
    `Version: ${fields.version}`,
    `Architecture: ${fields.architecture}`,
    `Maintainer: ${maintainer}`,
    `Installed-Size: ${fields.installedSize}`,
    `Depends: ${fields.depends.join(', ')}`,
    'Suggests: apparmor, nftables, runc',
    'Section: admin',
    'Priority: optional',
    `Homepage: ${homepage}`,
    `Description: ${description}`,
  ].join('\n')}\n`;
}
