import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { inPrivateNetns } from '../../engine/engine.fixture.ts';
import { startAgent } from '../agent.ts';
import type { OverlaySettings } from '../records/settings.ts';

if (inPrivateNetns(import.meta.filename)) {
  const root = mkdtempSync(join(tmpdir(), 'portcullis-guard-'));
  after(() => rmSync(root, { recursive: true, force: true }));

  /** Checks that a host cannot take part: it never reaches etcd. */
  async function refused(
    encryption: OverlaySettings['encryption'],
    underlay: string,
    brokenKeys = false,
  ): Promise<string> {
    const folder = mkdtempSync(join(root, 'host-'));
    if (brokenKeys) writeFileSync(join(folder, 'wireguard-keys.json'), 'no keys', { mode: 0o600 });
    const settings: OverlaySettings = {
      name: 'shop',
      host: 'host-1',
      etcd: { endpoints: ['http://127.0.0.1:1'] },
      networks: [{ prefix: '10.128.0.0/14', hostLength: 24 }],
      underlay,
      vni: 1,
      vxlanPort: 4789,
      encryption,
      wireguardPort: 51_820,
      leaseSeconds: 10,
      holdSeconds: 60,
      folder,
      databasePath: join(folder, 'network.db'),
      confDir: folder,
      order: '10',
    };
    const unused = (): never => assert.fail('it came further');
    const log = { info: () => undefined, warn: () => undefined };
    return startAgent(settings, { put: unused, replace: unused, remove: unused }, log).then(
      () => 'started',
      (thrown: unknown) => String((thrown as { code?: unknown }).code),
    );
  }

  const guards = (): string =>
    execFileSync('nft', ['list', 'tables'], { encoding: 'utf8' })
      .split('\n')
      .filter((table) => table.includes('guard'))
      .join();

  test('a host that cannot take part in the overlay sends no unencrypted packets either', async () => {
    assert.equal(await refused('none', 'no-such-link'), 'OVERLAY_UNDERLAY_MISSING');
    assert.equal(guards(), '', 'nothing is to be encrypted');
    assert.equal(await refused('wireguard', 'no-such-link'), 'OVERLAY_UNDERLAY_MISSING');
    assert.equal(guards(), 'table ip portcullis-overlay-guard');
    const rules = execFileSync('nft', ['list', 'table', 'ip', 'portcullis-overlay-guard'], {
      encoding: 'utf8',
    });
    assert.match(rules, /oifname != "portcullis-wg" ip daddr 10\.128\.0\.0\/14 drop/u);
    assert.match(rules, /iifname != "portcullis-wg" ip saddr 10\.128\.0\.0\/14 drop/u);
  });

  test('a host that cannot read its keys does not send unencrypted packets either', async () => {
    execFileSync('nft', ['delete', 'table', 'ip', 'portcullis-overlay-guard']);
    assert.notEqual(await refused('wireguard', 'lo', true), 'started');
    assert.equal(guards(), 'table ip portcullis-overlay-guard');
  });
}
