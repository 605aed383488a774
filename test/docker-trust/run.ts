/**
 * `[DOCKER=PATH] npm run test:docker-trust`: docker's own client signs, pushes, pulls, inspects and revokes with content trust against our service over
 * https. The daemon is a stub that notes what it is asked: which digest a pull asks for is docker's decision alone.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startTrustService } from '../../trust/index.ts';
import { runProgram } from '../fixtures/command.ts';
import type { Ended } from '../fixtures/command.ts';
import { findTool } from '../fixtures/tools.ts';
import { startDaemonStub } from './daemon-stub.ts';

const { DOCKER } = process.env;
const docker = DOCKER === undefined ? findTool('docker') : { path: DOCKER, skip: false };
if (docker.skip !== false) throw new Error(`${docker.skip}; or name one by DOCKER`);
const folder = mkdtempSync(join(tmpdir(), 'portcullis-docker-trust-'));
const [key, certificate] = [join(folder, 'tls.key'), join(folder, 'tls.pem')];
const words = [
  'req',
  '-x509',
  '-newkey',
  'ec',
  '-pkeyopt',
  'ec_paramgen_curve:prime256v1',
  '-nodes',
  '-days',
  '2',
  '-subj',
  '/CN=localhost',
];
execFileSync('openssl', [...words, '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', certificate], { stdio: 'ignore' });
const service = await startTrustService({
  listen: '127.0.0.1:0',
  data: join(folder, 'data'),
  tls: { certificate: readFileSync(certificate, 'utf8'), key: readFileSync(key, 'utf8') },
});
const digestOf = (content: string): string => `sha256:${createHash('sha256').update(content).digest('hex')}`;
let pushed = digestOf('one');
const daemon = await startDaemonStub(() => pushed);
const configuration = join(folder, 'docker');
const trusted = join(configuration, 'tls', new URL(service.url).host);
mkdirSync(trusted, { recursive: true });
execFileSync('cp', [certificate, join(trusted, 'ca.crt')]);
const environment = {
  PATH: process.env['PATH'],
  HOME: folder,
  DOCKER_HOST: daemon.address,
  DOCKER_CONFIG: configuration,
  DOCKER_CONTENT_TRUST: '1',
  DOCKER_CONTENT_TRUST_SERVER: service.url,
  DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE: 'root-passphrase',
  DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE: 'repository-passphrase',
};
const image = '127.0.0.1:5000/pay/app';
let steps = 0;
const run = async (line: readonly string[], expected = 0): Promise<Ended> => {
  const ended = await runProgram(docker.path, line, environment, folder);
  assert.equal(ended.code, expected, `docker ${line.join(' ')}: ${ended.output}`);
  steps += 1;
  return ended;
};

try {
  await run(['trust', 'key', 'generate', 'alice']);
  await run(['trust', 'signer', 'add', '--key', 'alice.pub', 'alice', image]);
  await run(['push', `${image}:1.0`]);
  const signed = pushed;
  assert.ok((await run(['trust', 'inspect', `${image}:1.0`])).stdout.includes(signed.slice('sha256:'.length)));
  // The registry's tag moves; what was signed stays.
  pushed = digestOf('moved');
  await run(['pull', `${image}:1.0`]);
  const pull = daemon.asked.find((line) => line.includes('/images/create'));
  assert.ok(pull?.includes(signed) === true, `asked for ${pull}`);
  await run(['trust', 'sign', `${image}:2.0`]);
  assert.ok((await run(['trust', 'inspect', '--pretty', image])).stdout.includes('alice'));
  await run(['pull', `${image}:unsigned`], 1);
  await run(['trust', 'revoke', '-y', `${image}:1.0`]);
  await run(['pull', `${image}:1.0`], 1);
  await run(['trust', 'signer', 'remove', '-f', 'alice', image]);
  await run(['pull', '127.0.0.1:5000/pay/nothing:1.0'], 1);
  console.log(`${execFileSync(docker.path, ['--version']).toString().trim()}: ${steps} steps as expected`);
} finally {
  await daemon.close();
  await service.close();
  rmSync(folder, { recursive: true, force: true });
}
