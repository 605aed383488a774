import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createLogger } from '../../base/log/index.ts';
import { makeServerCertificate } from '../../trust/x509/index.ts';
import { openCertificateFiles } from './certificate-files.ts';

test('a pair that the server refuses is offered again', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-certificate-files-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const [certificate, key] = [join(folder, 'tls.crt'), join(folder, 'tls.key')];
  const renew = async (): Promise<void> => {
    const made = await makeServerCertificate({
      names: ['webhook'],
      from: new Date(Date.now() - 60_000),
      until: new Date(Date.now() + 3_600_000),
    });
    writeFileSync(certificate, made.certificate);
    writeFileSync(key, made.key);
  };
  await renew();
  const offered: string[] = [];
  const files = await openCertificateFiles({
    ...{ certificate, key, everyMs: 10, log: createLogger({ level: 'silent' }) },
    onChange(pair) {
      offered.push(pair.certificate);
      if (offered.length === 1) throw new Error('refused');
    },
  });
  t.after(() => files.close());
  await renew();
  for (const end = Date.now() + 60_000; offered.length < 2;) {
    assert.ok(Date.now() < end, 'it was not offered again');
    await sleep(10);
  }
  assert.equal(new Set(offered).size, 1);
  await sleep(50);
  assert.equal(offered.length, 2, 'and is not offered again once it is in use');
});
