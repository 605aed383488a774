import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { createLogger } from '../base/log/index.ts';
import { createCriServer } from '../runtime/index.ts';
import { commandFile } from '../test/fixtures/command.ts';

const image = (name: string, annotations: Record<string, string> = {}) => ({
  id: `sha256:${name.repeat(64)}`,
  repoTags: [`registry.example.com/${name}:1`],
  repoDigests: [],
  size: 1,
  pinned: false,
  spec: { image: name, annotations, userSpecifiedImage: '', runtimeHandler: '' },
});

for (const [runtimeName, marks] of [
  ['portcullis', ['yes', 'no']],
  ['containerd', ['not known', 'not known']],
] as const)
  test(`the list of images says what ${runtimeName} knows about their verification`, async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'portcullis-images-'));
    const server = await createCriServer({
      socketPath: join(folder, 'cri.sock'),
      log: createLogger({ level: 'silent' }),
      imageService: {
        listImages: () =>
          Promise.resolve({ images: [image('a'), image('b', { 'portcullis.dev/unverified': 'true' })] }),
      },
      runtimeService: {
        version: () =>
          Promise.resolve({ version: '0.1.0', runtimeName, runtimeVersion: '1', runtimeApiVersion: 'v1' }),
      },
    });
    t.after(async () => {
      await server.close();
      await rm(folder, { recursive: true });
    });
    const list = async (...more: string[]): Promise<string> => {
      const words = ['images', 'ls', '--socket', join(folder, 'cri.sock'), ...more];
      return (await promisify(execFile)(process.execPath, [commandFile, ...words])).stdout;
    };
    const lines = (await list()).trim().split('\n').slice(1);
    assert.deepEqual(
      lines.map((line) => line.split(/ {2,}/u).at(-1)),
      marks,
    );
    const objects = JSON.parse(await list('--output', 'json')) as { readonly verified: unknown }[];
    const known = runtimeName === 'portcullis';
    assert.deepEqual(
      objects.map(({ verified }) => verified),
      known ? [true, false] : [null, null],
    );
  });
