import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { Publisher } from '../fixtures/publisher.ts';
import { layerOf } from '../fixtures/image.ts';
import type { Layer } from '../fixtures/image.ts';
import { findTool } from '../fixtures/tools.ts';

/** The registry that kubeadm names. The daemons reach it through a mirror. */
export const imageRegistry = 'registry.k8s.io';

/** The programs of kubeadm's images, by the last part of the image's name. */
const programs: Readonly<Record<string, string>> = {
  'kube-apiserver': 'kube-apiserver',
  'kube-controller-manager': 'kube-controller-manager',
  'kube-scheduler': 'kube-scheduler',
  etcd: 'etcd',
};

/** The names of these programs in `test/peers`. */
export const controlPlanePrograms: readonly string[] = Object.values(programs);

/**
 * Builds, pushes and signs the images that kubeadm names for this configuration, with the real programs of
 * `test/peers`.
 * @param scripts shell scripts by the name of a program: the image starts the script in place of the program,
 *   which is in `/usr/local/libexec`
 * @returns the references, as kubeadm names them
 */
export async function publishControlPlane(
  publisher: Publisher,
  config: string,
  scripts: Readonly<Record<string, string>> = {},
): Promise<readonly string[]> {
  const listed = execFileSync(findTool('kubeadm').path, ['config', 'images', 'list', '--config', config], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const references = listed.trim().split('\n');
  for (const reference of references) {
    const name = reference.slice(`${imageRegistry}/`.length);
    const program = programs[name.replace(/:.*$/u, '').replace(/^.*\//u, '')];
    const layers = program === undefined ? [] : await layersOf(program, scripts[program]);
    await publisher.publish(name, { layers, config: { Env: ['PATH=/usr/local/bin:/bin'] } });
  }
  return references;
}

async function layersOf(program: string, script: string | undefined): Promise<readonly Layer[]> {
  const executable = (folder: string, body: string | Uint8Array): Promise<Layer> =>
    layerOf([
      { name: `usr/local/${folder}/`, type: 'directory' },
      { name: `usr/local/${folder}/${program}`, mode: 0o755, body },
    ]);
  const bytes = readFileSync(findTool(program).path);
  return script === undefined
    ? [await executable('bin', bytes)]
    : [await executable('libexec', bytes), await executable('bin', script)];
}
