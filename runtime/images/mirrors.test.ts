import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createRegistryClient } from '../../base/distribution/index.ts';
import { findRegistry, registryUser, startRegistry } from '../../test/fixtures/registry.ts';
import type { TestRegistry } from '../../test/fixtures/registry.ts';
import type { MirrorConfig } from '../config/types.ts';
import { openRules } from './mirrors.ts';

const auth = Buffer.from(`${registryUser.username}:${registryUser.password}`).toString('base64');

describe(
  'mirrors with separate credentials',
  { skip: findRegistry() === undefined ? 'no docker-registry' : false },
  () => {
    let folder = '';
    let registry: TestRegistry;
    before(async () => {
      folder = mkdtempSync(join(tmpdir(), 'pc-mirrors-'));
      registry = await startRegistry({ auth: true });
    });
    after(async () => {
      await registry.close();
      rmSync(folder, { recursive: true });
    });

    const authFile = (content: unknown): string => {
      const file = join(folder, 'auth.json');
      writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content), { mode: 0o600 });
      return file;
    };

    /** Returns the answer of a registry that asks for credentials, to a client with these mirrors. */
    const askedBy = async (mirror: MirrorConfig): Promise<string> => {
      const client = createRegistryClient({
        rules: await openRules({ mirrors: { 'good.test': mirror }, prefixes: {} }),
      });
      try {
        const [first] = client.repositories({ registry: 'good.test', repository: 'team/app' });
        return await (first?.resolve('1') ?? Promise.reject(new Error('no place'))).then(
          () => 'found',
          (error: unknown) => (error as { code: string }).code,
        );
      } finally {
        await client.close();
      }
    };

    it('are asked with these credentials', async () => {
      const { url } = registry;
      assert.equal(await askedBy({ url, origin: false }), 'DISTRIBUTION_UNAUTHORIZED');
      const file = authFile({ auths: { [registry.host]: { auth } } });
      assert.equal(
        await askedBy({ url, origin: false, authFile: file }),
        'DISTRIBUTION_NOT_FOUND',
        'let in: there is no such image',
      );
    });

    it('are asked with the credentials of the matching repository path, if the file has such entries', async () => {
      const file = authFile({
        auths: {
          [`${registry.host}/cache`]: { auth },
          [registry.host]: { auth: Buffer.from('a:b').toString('base64') },
        },
      });
      assert.equal(
        await askedBy({ url: `${registry.url}/cache`, origin: false, authFile: file }),
        'DISTRIBUTION_NOT_FOUND',
      );
      assert.equal(
        await askedBy({ url: registry.url, origin: false, authFile: file }),
        'DISTRIBUTION_UNAUTHORIZED',
      );
    });

    for (const [name, content, code] of [
      ['lists only another host', { auths: { 'other.test': { auth } } }, 'IMAGES_MIRROR_CREDENTIALS'],
      ['is not JSON', `{ "auths": "${auth}`, 'TRUST_DOCKER_CONFIG'],
    ] as const) {
      it(`a file that ${name} is reported, without its content`, async () => {
        await assert.rejects(
          openRules({
            mirrors: { 'good.test': { url: registry.url, origin: false, authFile: authFile(content) } },
            prefixes: {},
          }),
          (error: Error) => {
            assert.equal((error as Error & { code: string }).code, code);
            assert.doesNotMatch(error.message, new RegExp(auth));
            return true;
          },
        );
      });
    }

    it('a missing file is reported', async () => {
      await assert.rejects(
        openRules({
          mirrors: { 'good.test': { url: registry.url, origin: false, authFile: join(folder, 'none') } },
          prefixes: {},
        }),
        {
          code: 'IMAGES_MIRROR_CREDENTIALS',
        },
      );
    });
  },
);
