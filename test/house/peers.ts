import { spawn, spawnSync } from 'node:child_process';
import { text } from 'node:stream/consumers';
import type { Counts } from './test-process.ts';

/** Peers that build quickly. The others of `test/peers/get` take long; their tests report what is missing. */
const builtWithGo = ['crictl', 'critest', 'images', 'notary', 'notation', 'containers-judge'];
const unpacked = ['skopeo', 'tlc', 'groovy', 'nginx', 'node22'];

/** Returns whether peers can be built on this machine. */
export function hasGo(): boolean {
  return spawnSync('go', ['version']).status === 0;
}

/**
 * Builds the peers that tests use. Peers that exist already are not built again. Without Go most of these
 * tests are skipped. Tests that use no peer can run meanwhile: the result is written when all have ended.
 */
export async function getPeers(out: NodeJS.WritableStream): Promise<Counts> {
  const go = hasGo();
  // Downloads wait for the network while Go compiles.
  const [failed, missing] = await Promise.all([
    missingOf(out, go ? builtWithGo : []),
    missingOf(out, unpacked),
  ]);
  out.write('\npeers\n');
  if (!go)
    out.write(
      `- ${builtWithGo.join(', ')} are built with Go, which is not installed: the tests that need them are skipped\n`,
    );
  for (const name of failed) out.write(`✖ ${name} could not be built\n`);
  for (const name of missing) out.write(`- ${name} is not available: the tests that need it are skipped\n`);
  if (failed.length === 0 && go) out.write(`✔ ${builtWithGo.join(', ')}\n`);
  out.write('\n');
  return { passed: 0, failed: failed.length, skipped: go ? 0 : 1 };
}

/** Builds peers one after another. Returns those that could not be built, and writes why. */
async function missingOf(out: NodeJS.WritableStream, names: readonly string[]): Promise<readonly string[]> {
  const missing: string[] = [];
  for (const name of names) {
    const { isBuilt, printed } = await get(name);
    if (isBuilt) continue;
    missing.push(name);
    out.write(printed);
  }
  return missing;
}

/** Returns whether a peer exists now, and what its build printed. It is built quickly, not to be measured. */
async function get(name: string): Promise<{ readonly isBuilt: boolean; readonly printed: string }> {
  const build = spawn('bash', ['-c', 'exec bash test/peers/get "$0" 2>&1', name], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, PEERS_QUICK: '1' },
  });
  const ended = new Promise<number | null>((resolve) => build.once('close', resolve));
  const printed = await text(build.stdout);
  return { isBuilt: (await ended) === 0, printed };
}
