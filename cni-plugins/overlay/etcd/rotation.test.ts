import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { etcdTool, eventually, makeAuthority, startEtcdMembers } from '../../../test/fixtures/etcd.ts';
import type { EtcdMember, IssuedCertificate } from '../../../test/fixtures/etcd.ts';
import { openEtcd } from './client.ts';
import type { EtcdClient } from './client.ts';

/** A client whose certificate is replaced while it runs, with a real etcd that requires one. */

describe('a client whose certificates are replaced', { skip: etcdTool.skip }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-rotation-'));
  const authority = makeAuthority(folder);
  const clients: EtcdClient[] = [];
  let member: EtcdMember;
  let endpoint = '';
  let generation = 0;
  let mounted = '';

  before(async () => {
    const { ca } = authority;
    [member] = startEtcdMembers({ folder, port: 3379, tls: { ca, ...authority.issue('server') } }) as [
      EtcdMember,
    ];
    ({ endpoint } = member);
    const { cert, key } = authority.issue('probe');
    const probe = openEtcd({
      endpoints: [endpoint],
      ca: readFileSync(ca, 'utf8'),
      cert: readFileSync(cert, 'utf8'),
      key: readFileSync(key, 'utf8'),
    });
    clients.push(probe);
    await eventually('etcd answers', async () => (await probe.list('/')).revision > 0);
  });
  after(async () => {
    for (const client of clients) client.close();
    await member?.end();
    rmSync(folder, { recursive: true, force: true });
  });
  beforeEach((context) => {
    mounted = join(folder, `mounted-${context.name.replace(/\W+/gu, '-')}`);
    mkdirSync(mounted);
    for (const name of ['ca', 'cert', 'key']) symlinkSync(`now/${name}.pem`, join(mounted, `${name}.pem`));
  });

  /**
   * Replaces all files at once, as the kubelet and cert-manager's CSI driver do: replaces a link to a folder.
   */
  function swapIn({ cert, key }: IssuedCertificate): void {
    generation += 1;
    const next = join(mounted, `generation-${generation}`);
    mkdirSync(next);
    copyFileSync(authority.ca, join(next, 'ca.pem'));
    copyFileSync(cert, join(next, 'cert.pem'));
    copyFileSync(key, join(next, 'key.pem'));
    symlinkSync(`generation-${generation}`, join(mounted, 'next'));
    renameSync(join(mounted, 'next'), join(mounted, 'now'));
  }
  function open(report: (problem: string) => void = () => undefined): EtcdClient {
    const at = (name: string): string => join(mounted, `${name}.pem`);
    const client = openEtcd(
      { endpoints: [endpoint], files: { ca: at('ca'), cert: at('cert'), key: at('key') } },
      report,
    );
    clients.push(client);
    return client;
  }

  test('a client whose certificate has expired reaches etcd again once its files are replaced', async () => {
    swapIn(authority.issue('short', { ended: true }));
    const client = open();
    await assert.rejects(client.list('/'), { code: 'OVERLAY_ETCD_UNREACHABLE' });
    swapIn(authority.issue('short'));
    await eventually('it is accepted', async () => (await client.list('/')).revision > 0);
  });

  test('new connections use the new certificate, even if the old one is still valid', async () => {
    swapIn(authority.issue('first'));
    const client = open();
    await client.list('/');
    swapIn(authority.issue('second', { ended: true }));
    await eventually('it is refused because of its current certificate', () =>
      client.list('/').then(
        () => false,
        () => true,
      ),
    );
    swapIn(authority.issue('third'));
    await eventually('it is accepted', async () => (await client.list('/')).revision > 0);
  });

  test('a half-written pair is not used, and is reported without the key; the complete pair is used', async () => {
    swapIn(authority.issue('whole'));
    const reported: string[] = [];
    const client = open((problem) => reported.push(problem));
    await client.list('/');
    const { cert, key } = authority.issue('later');
    const now = join(mounted, 'now');
    writeFileSync(join(now, 'cert.pem'), readFileSync(cert));
    await eventually('it is reported', () => reported.length > 0);
    assert.match(reported[0]!, /the certificate does not belong to the key/u);
    assert.doesNotMatch(reported.join('\n'), /PRIVATE/u);
    await client.list('/');
    writeFileSync(join(now, 'ca.pem'), readFileSync(authority.ca).subarray(0, 100));
    await eventually('half an authority is reported', () =>
      reported.some((each) => each.includes('not complete')),
    );
    await client.list('/');
    writeFileSync(join(now, 'ca.pem'), readFileSync(authority.ca));
    writeFileSync(join(now, 'key.pem'), readFileSync(key));
    await eventually('it is used', () => reported.at(-1) === '');
    await client.list('/');
    rmSync(join(now, 'key.pem'));
    await eventually('a file that is gone is reported', () => reported.at(-1)!.includes('key.pem'));
    await client.list('/');
  });
});
