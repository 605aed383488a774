/**
 * `npm run test:containerd-integration [-- --only REGEX] [--keep-log FILE]`: containerd's own integration
 * tests against the built daemon (README.md).
 */
import '../fixtures/private-namespaces.ts';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { parseArgs } from 'node:util';
import { openStage } from '../fixtures/stage.ts';
import { eitherOutcome, expectedFailures, tests } from './expected.ts';
import { publishImages } from './images.ts';
import { readOutcomes } from './results.ts';
import type { Outcome } from './results.ts';

const { values } = parseArgs({
  options: { only: { type: 'string', default: '.' }, 'keep-log': { type: 'string' } },
});
const program = join(process.env['PEERS'] ?? '/var/cache/portcullis-peers', 'bin/containerd-integration');
const folder = mkdtempSync(join(tmpdir(), 'portcullis-containerd-integration-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
// The suite connects its NRI plugins to this path.
execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', '/run']);
const config = join(folder, 'config.yaml');
writeFileSync(config, 'nri: { enabled: true, socket: /run/nri-test.sock }\n');
const stage = await openStage({ flags: ['--config', config] });
const images = join(folder, 'images.toml');
writeFileSync(images, await publishImages(stage));

let log = '';
const unexpected: string[] = [];
const counts: Record<Outcome, number> = { PASS: 0, FAIL: 0, SKIP: 0 };
for (const name of tests.filter((each) => new RegExp(values.only, 'u').test(each))) {
  // One process for each test: the suite leaves its NRI plugins connected.
  const flags = ['-test.v', '-test.timeout', '5m', '-test.run', `^${name}$`, '-image-list', images];
  const child = spawn(program, [...flags, '-cri-endpoint', `unix://${stage.folders.socket}`], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  log += output + errors;
  const outcomes = readOutcomes(output);
  if (!outcomes.has(name) && ![...outcomes.keys()].some((part) => part.startsWith(`${name}/`)))
    unexpected.push(`${name}: no result`);
  for (const [part, outcome] of outcomes) {
    counts[outcome] += 1;
    const mayFail = eitherOutcome[part];
    const reason = expectedFailures[part] ?? mayFail;
    const isExpected = (outcome === 'FAIL') === (reason !== undefined) || outcome === 'SKIP';
    if (!isExpected && mayFail === undefined)
      unexpected.push(`${part}: ${outcome}${reason === undefined ? '' : ', expected to fail'}`);
    console.log(`${outcome} ${part}${reason === undefined ? '' : ` (${reason})`}`);
  }
}
if (values['keep-log'] !== undefined) writeFileSync(values['keep-log'], log);
await stage.close();
console.log(`\n${counts.PASS} passed, ${counts.FAIL} failed, ${counts.SKIP} skipped`);
for (const line of unexpected) console.log(`unexpected: ${line}`);
process.exit(unexpected.length === 0 ? 0 : 1);
