import { spawnSync } from 'node:child_process';
import type { Counts } from './test-process.ts';

/** Peers that build quickly. The others of `test/peers/get` take long; their tests report what is missing. */
const builtWithGo = ['crictl', 'critest', 'images', 'notary', 'notation', 'containers-judge'];
const unpacked = ['skopeo', 'tlc', 'groovy', 'nginx', 'node22'];

/** Returns whether peers can be built on this machine. */
export function hasGo(): boolean {
  return spawnSync('go', ['version']).status === 0;
}

/**
 * Builds the peers that tests use, before the tests. Peers that exist already are not built again. Without Go
 * most of these tests are skipped.
 */
export function getPeers(out: NodeJS.WritableStream): Counts {
  out.write('\npeers\n');
  const go = hasGo();
  if (!go)
    out.write(
      `- ${builtWithGo.join(', ')} are built with Go, which is not installed: the tests that need them are skipped\n`,
    );
  const failed = (go ? builtWithGo : []).filter((name) => !get(name));
  for (const name of failed) out.write(`✖ ${name} could not be built\n`);
  for (const name of unpacked.filter((one) => !get(one)))
    out.write(`- ${name} is not available: the tests that need it are skipped\n`);
  if (failed.length === 0 && go) out.write(`✔ ${builtWithGo.join(', ')}\n`);
  return { passed: 0, failed: failed.length, skipped: go ? 0 : 1 };
}

function get(name: string): boolean {
  return (
    spawnSync('bash', ['test/peers/get', name], { stdio: ['ignore', 'inherit', 'inherit'] }).status === 0
  );
}
