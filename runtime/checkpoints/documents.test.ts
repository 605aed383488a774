import assert from 'node:assert/strict';
import {
  mkdtempSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { ContainerRecord } from '../containers/record.ts';
import { writeDeletedFiles, writeLog } from './archive.ts';
import { configDump, specDump } from './documents.ts';
import { writeReport } from './rights-report.ts';
import { folderBytes, memoryBytes } from './sizes.ts';

const record = {
  id: 'f'.repeat(64),
  sandboxId: 'e'.repeat(64),
  imageId: 'sha256:1',
  imageRef: 'sha256:2',
  createdAt: '1700000000000000000',
  config: {
    metadata: { name: 'app', attempt: 0 },
    image: { image: 'sha256:1', userSpecifiedImage: 'r.test/a:1' },
  },
} as unknown as ContainerRecord;
const input = {
  record,
  sandbox: { config: { metadata: { name: 'pod', namespace: 'shop', uid: 'u', attempt: 0 } } } as never,
  runtime: 'runc',
  spec: '{"ociVersion":"1.0.2","annotations":{"own":"1"}}',
  now: 1_700_000_001_000,
};

const limit = (): Promise<undefined> => Promise.resolve(undefined);
const limited = (why: string): Error => new Error(why);

describe('the documents of an archive', () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'pc-documents-'));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('name the container, its image and the times', () => {
    assert.deepEqual(JSON.parse(configDump(input)), {
      id: record.id,
      name: 'app',
      rootfsImage: 'sha256:1',
      rootfsImageRef: 'sha256:2',
      rootfsImageName: 'r.test/a:1',
      runtime: 'runc',
      createdTime: '2023-11-14T22:13:20.000Z',
      checkpointedTime: '2023-11-14T22:13:21.000Z',
      restoredTime: '1970-01-01T00:00:00.000Z',
      restored: false,
    });
  });

  it('have the specification with the names of the pod', () => {
    const { annotations } = JSON.parse(specDump(input)) as { annotations: Record<string, string> };
    assert.equal(annotations['own'], '1');
    assert.equal(annotations['io.kubernetes.cri.container-name'], 'app');
    assert.equal(annotations['io.kubernetes.cri.sandbox-namespace'], 'shop');
  });

  it('list the deleted files of the image, but no devices', async () => {
    // The list of the script, from the time when the container was frozen. Later changes of the files do not
    // matter.
    writeFileSync(join(folder, 'devices'), ['0:0 ./gone\n0:0 x', '1:3 ./null', '0:0 ./d/e', ''].join('\0'));
    await writeDeletedFiles({ folder, limit, limited });
    assert.deepEqual(JSON.parse(readFileSync(join(folder, 'deleted.files'), 'utf8')), ['gone\n0:0 x', 'd/e']);
  });

  it('stop at a limit while deleted files are listed, and at a list that is too long', async () => {
    const late = () => Promise.resolve('late');
    await assert.rejects(writeDeletedFiles({ folder, limit: late, limited }), /late/);
    truncateSync(join(folder, 'devices'), 17 * 1024 * 1024);
    await assert.rejects(writeDeletedFiles({ folder, limit, limited }), /larger/);
  });

  it('have no report about images that are too large to be read, and do not load them into memory', async () => {
    const images = join(folder, 'checkpoint');
    mkdirSync(images);
    writeFileSync(join(images, 'files.img'), '');
    truncateSync(join(images, 'files.img'), 400 * 1024 * 1024);
    const before = process.resourceUsage().maxRSS;
    const [excess] = await writeReport(folder, '{}');
    assert.match(excess?.what ?? '', /the images are larger than/);
    assert.ok(process.resourceUsage().maxRSS - before < 100 * 1024);
  });

  it('have the end of a large log, and do not follow a symbolic link that replaces the log', async () => {
    const log = join(folder, '0.log');
    writeFileSync(log, '');
    truncateSync(log, 17 * 1024 * 1024);
    await writeLog(folder, log);
    assert.equal(statSync(join(folder, 'container.log')).size, 16 * 1024 * 1024);
    rmSync(join(folder, 'container.log'));
    symlinkSync(log, join(folder, 'link'));
    await writeLog(folder, join(folder, 'link'));
    await writeLog(folder, join(folder, 'layer'));
    assert.throws(() => statSync(join(folder, 'container.log')), /ENOENT/);
  });

  it('are measured by the disk space that they use, and processes by their memory', async () => {
    const own = join(folder, 'sizes/below');
    mkdirSync(own, { recursive: true });
    writeFileSync(join(own, 'f'), Buffer.alloc(1024 * 1024, 1));
    const bytes = await folderBytes(join(folder, 'sizes'));
    assert.ok(bytes >= 1024 * 1024 && bytes < 1.1 * 1024 * 1024, String(bytes));
    assert.ok((await memoryBytes([process.pid, 2 ** 22 + 1])) > 10 * 1024 * 1024);
  });
});
