import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import manifest from '../../package.json' with { type: 'json' };
import { filesBelow } from '../archives/files.ts';
import type { PackageFile } from '../archives/files.ts';
import { lockedPackages } from '../archives/npm-package.ts';
import { architectures, homepage } from '../deb/control.ts';
import type { Architecture } from '../deb/control.ts';
import { platformFiles } from '../deb/contents.ts';
import { bundledPackages } from '../notices.ts';
import { layOut } from '../package.ts';
import { filesOfPlatform } from '../artifacts/artifacts.ts';
import { platformPackages } from '../artifacts/platform.ts';
import { componentsOf, debPurl } from '../sbom/components.ts';
import type { Component } from '../sbom/components.ts';
import { cyclonedxOf } from '../sbom/cyclonedx.ts';
import { spdxOf } from '../sbom/spdx.ts';
import { isWholeProgram } from '../whole-programs.ts';
import { baseFiles, user } from './base-layer.ts';
import { basePackages, debianLock } from './debian-packages.ts';
import { ImageLayout } from './image-layout.ts';
import type { Layer, Start } from './image-layout.ts';

const root = join(import.meta.dirname, '../..');
const { version, license } = manifest;
const library = 'usr/lib/portcullis';
const node = '/usr/bin/node';
const command = `/${library}/dist/portcullis.js`;

interface ImageSource extends Omit<Start, 'user'> {
  readonly title: string;
  readonly description: string;
  readonly isForNodes?: boolean;
}

/** The images of a release, by their names. Arguments of a container follow the entrypoint. */
export const images: Readonly<Record<string, ImageSource>> = {
  webhook: {
    title: 'Portcullis admission webhook',
    description: 'Refuses images at admission by a trust policy',
    entrypoint: [node, command, 'webhook', 'serve'],
    command: ['--listen=:8443', '--policy-from-cluster'],
    port: 8443,
  },
  fleet: {
    title: 'Portcullis aggregator and console',
    description: 'Shows verdicts, proofs and the state of many nodes in one place',
    entrypoint: [node, command, 'fleet', 'serve'],
    command: ['--listen=:4319', '--data=/var/lib/portcullis/fleet'],
    port: 4319,
  },
  trust: {
    title: 'Portcullis trust service',
    description: 'Stores and serves collections of signed metadata: Notary v1 and TUF',
    // docs/decisions/0010 explains the flags.
    entrypoint: [node, '--max-semi-space-size=32', '--single-threaded-gc', command, 'trust', 'serve'],
    command: ['--listen=:4443', '--data=/var/lib/portcullis/trust'],
    port: 4443,
  },
  'node-installer': {
    title: 'Portcullis node installer',
    description: 'Puts the container runtime and its unit in place on a node',
    entrypoint: [node, `/${library}/dist/node-installer.js`],
    command: ['hold'],
    isForNodes: true,
  },
};

export interface ImagesOptions {
  /** Time of the release, in seconds since 1970. */
  readonly time: number;
  /** Commit of the sources. */
  readonly revision: string;
  /** URI of the repository. */
  readonly source: string;
  readonly architectures?: readonly Architecture[];
}

/**
 * Builds the images of a release into `folder`: one OCI image layout with a tag for each image, and beside it
 * the SBOM of each as SPDX and as CycloneDX. The same commit gives the same bytes on every machine.
 * @returns the digest of each image, by its name
 * @throws Error if something cannot be built, or if a package differs from what is recorded
 */
export async function buildImages(
  folder: string,
  options: ImagesOptions,
): Promise<Readonly<Record<string, string>>> {
  const { time, revision, source } = options;
  const work = mkdtempSync(join(tmpdir(), 'pc-images-'));
  try {
    const layout = join(work, 'package');
    const metafile = await layOut(layout, { types: false, isWhole: true });
    const product = filesBelow(layout);
    const installer = await bundledInstaller();
    const target = new ImageLayout(join(folder, 'images'), time);
    const built = options.architectures ?? architectures;
    const layers = new Map<Architecture, { services: readonly Layer[]; nodes: readonly Layer[] }>();
    for (const architecture of built)
      layers.set(architecture, await layersOf(target, architecture, product, installer));

    const components = [
      ...componentsOf(bundledPackages(metafile), lockedPackages(root)),
      ...built.flatMap(platformComponents),
    ];
    const digests: Record<string, string> = {};
    for (const [name, { title, description, isForNodes = false, ...start }] of Object.entries(images)) {
      const labels = {
        'org.opencontainers.image.title': title,
        'org.opencontainers.image.description': description,
        'org.opencontainers.image.version': version,
        'org.opencontainers.image.revision': revision,
        'org.opencontainers.image.created': new Date(time * 1000).toISOString(),
        'org.opencontainers.image.source': source,
        'org.opencontainers.image.url': homepage,
        'org.opencontainers.image.documentation': homepage,
        'org.opencontainers.image.licenses': license,
      };
      const platforms = [...layers].map(([architecture, { services, nodes }]) => ({
        architecture,
        layers: isForNodes ? nodes : services,
        start: { ...start, user: `${user}:${user}` },
      }));
      const { digest } = target.image(name, platforms, labels);
      digests[name] = digest;
      const subject = {
        name: `portcullis-${name}`,
        ...{ version, license, description, time },
        purl: `pkg:oci/${name}@${encodeURIComponent(digest)}`,
      };
      writeFileSync(join(folder, `${name}.spdx.json`), spdxOf(subject, components));
      writeFileSync(join(folder, `${name}.cdx.json`), cyclonedxOf(subject, components));
    }
    target.finish();
    writeFileSync(join(folder, 'images.json'), `${JSON.stringify(digests, null, 2)}\n`);
    return digests;
  } finally {
    rmSync(work, { recursive: true });
  }
}

async function layersOf(
  target: ImageLayout,
  architecture: Architecture,
  product: readonly PackageFile[],
  installer: PackageFile,
): Promise<{ services: readonly Layer[]; nodes: readonly Layer[] }> {
  const platform = platformFiles(await filesOfPlatform(architecture));
  const program = platform.find(({ path }) => path.endsWith('/bin/node'))?.path ?? '';
  const inside = (wanted: RegExp, isWhole = false): PackageFile[] =>
    product
      .filter(({ path }) => wanted.test(path) && isWholeProgram(path.replace(/^dist\//u, '')) === isWhole)
      .map((one) => ({ ...one, path: `${library}/${one.path}` }));
  const folders = [
    { path: 'tmp', mode: 0o1777, user: 0 },
    ...['fleet', 'trust'].map((name) => ({ path: `var/lib/portcullis/${name}`, mode: 0o700, user })),
  ];
  const services = [
    await target.layer('libraries of Debian', await baseFiles(architecture), folders),
    await target.layer('Node.js', [
      ...platform,
      { path: 'usr/bin/node', content: { target: `../../${program}` } },
    ]),
    // The command finds its package by the list of packages.
    await target.layer(
      'Portcullis',
      inside(/^(?:dist\/|package\.json$|LICENSE$|THIRD-PARTY-NOTICES$|packaging\/debian-packages$)/u),
    ),
  ];
  const ofNodes = [
    ...inside(/^packaging\/(?:bin\/|systemd\/|policies\/|prepare$)/u),
    // Only a node runs the daemon.
    ...inside(/^dist\//u, true),
  ];
  return { services, nodes: [...services, await target.layer('files of a node', [...ofNodes, installer])] };
}

async function bundledInstaller(): Promise<PackageFile> {
  const { outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: ['packaging/oci/installer/main.ts'],
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'node',
    logLevel: 'warning',
  });
  const bytes = outputFiles[0]?.contents ?? new Uint8Array();
  return { path: `${library}/dist/node-installer.js`, content: { bytes, executable: false } };
}

/** Node, koffi and the packages of Debian for an architecture. */
function platformComponents(architecture: Architecture): readonly Component[] {
  const locked = lockedPackages(root);
  const npm = platformPackages(architecture).map((name) => {
    const { version: pinned = '', license: licence = '' } = locked[`node_modules/${name}`] ?? {};
    return { name, version: pinned, license: licence };
  });
  const debian = debianLock().packages[architecture].map((deb): Component => ({
    name: deb.name,
    version: deb.version,
    license: basePackages[deb.name] ?? 'NOASSERTION',
    hash: { algorithm: 'SHA-256', value: deb.sha256 },
    purl: debPurl(deb.name, deb.version, architecture),
  }));
  return [...componentsOf(npm, locked), ...debian];
}
