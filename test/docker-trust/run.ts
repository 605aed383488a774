/**
 * `[DOCKER=PATH] npm run test:docker-trust`: docker's clients and daemon, unmodified, with content trust
 * against our service over https and a real registry: Debian's docker 20.10 throughout, then a newer client
 * (28 is the last that has content trust) on the same daemon.
 */
import '../fixtures/private-namespaces.ts';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startTrustService } from '../../trust/notary/index.ts';
import { makeCertificate } from '../fixtures/certificate.ts';
import { findDocker, startDocker } from '../fixtures/dockerd.ts';
import { startRegistry } from '../fixtures/registry.ts';
import { findTool } from '../fixtures/tools.ts';
import { playContentTrust } from './script.ts';

const debian = findDocker();
if (debian.skip !== false) throw new Error(debian.skip);
const { DOCKER } = process.env;
const newer = DOCKER === undefined ? findTool('docker') : { path: DOCKER, skip: false };

const folder = mkdtempSync(join(tmpdir(), 'portcullis-docker-trust-'));
const { key, certificate } = makeCertificate(folder, 'tls', {
  commonName: 'localhost',
  more: ['-addext', 'subjectAltName=IP:127.0.0.1'],
});
const service = await startTrustService({
  listen: '127.0.0.1:0',
  data: join(folder, 'data'),
  tls: { certificate: readFileSync(certificate, 'utf8'), key: readFileSync(key, 'utf8') },
});
const registry = await startRegistry();
mkdirSync(join(folder, 'dockerd'));
const docker = await startDocker({ folder: join(folder, 'dockerd') });
try {
  await docker.importBusybox();
  for (const [index, program] of [
    debian.bin('docker'),
    ...(newer.skip === false ? [newer.path] : []),
  ].entries()) {
    const version = execFileSync(program, ['--version'], { env: docker.environment }).toString();
    // Its successors have no content trust.
    if (!/version (?:20|2[3-8])\./u.test(version)) continue;
    const home = join(folder, `client-${index}`);
    const steps = await playContentTrust({
      program,
      home,
      docker,
      service: service.url,
      certificate,
      registry: registry.host,
      name: `pay/app${index}`,
    });
    console.log(
      `${version.trim()} with dockerd ${await docker.ok('version', '--format', '{{.Server.Version}}')}: ${steps} steps as expected`,
    );
  }
} finally {
  await docker.end();
  await registry.close();
  await service.close();
  rmSync(folder, { recursive: true, force: true });
}
