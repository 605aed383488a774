/**
 * Runs in its own namespaces: signed images, the daemon, and a program with its arguments, in which SOCKET
 * stands for the daemon's socket.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { peers, prepareNamespaces, serveSignedImages, startDaemon } from '../test/conformance/endpoint.ts';

prepareNamespaces();
const folder = mkdtempSync(join(tmpdir(), 'pc-bench-'));
// The root user of a pod with a user namespace has to pass through.
chmodSync(folder, 0o711);
// Like /run, where each runtime stores state that is lost at a reboot.
mkdirSync(join(folder, 'state'));
execFileSync('mount', ['-t', 'tmpfs', 'state', join(folder, 'state')]);
const images = await serveSignedImages(folder);
const daemon = await startDaemon(folder, images.policyFile).catch(async (thrown: unknown) => {
  await images.stop();
  throw thrown;
});
const [program = '', ...args] = process.argv
  .slice(2)
  .map((argument) => argument.replace('SOCKET', daemon.socket));
const child = spawn(program, args, {
  stdio: 'inherit',
  env: { ...process.env, PATH: `${join(peers, 'bin')}:${process.env['PATH'] ?? ''}` },
});
const [code] = (await once(child, 'exit')) as [number | null];
// Proves that verification was on: each pulled image shows the decision that admitted it. run.ts passes lines
// with :: on.
const admitted = new Map<string, string>();
for (const line of readFileSync(join(folder, 'daemon.log'), 'utf8').split('\n')) {
  if (!line.includes('"image pulled"')) continue;
  const { reference, verdict, unverified } = JSON.parse(line) as {
    reference: string;
    verdict: string;
    unverified: boolean;
  };
  admitted.set(reference, unverified ? 'UNVERIFIED' : verdict);
}
for (const [reference, verdict] of admitted)
  console.log(`::  ${reference}: admitted by a key rule, verdict ${verdict}`);
await daemon.stop();
await images.stop();
execFileSync('umount', ['--lazy', join(folder, 'state')]);
rmSync(folder, { recursive: true, force: true });
process.exit(code ?? 1);
