import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { it } from 'node:test';

const script = `
import { registerHooks } from 'node:module';
const loaded = [];
registerHooks({ load: (url, context, next) => (loaded.push(url), next(url, context)) });
await import(process.argv[1]);
process.stdout.write(loaded.join('\\n'));
`;

it('the entry point of the start loads the configuration, but not the rest of `runtime` or the folders that it uses', () => {
  const loaded = execFileSync(
    process.execPath,
    ['--input-type=module', '-e', script, join(import.meta.dirname, 'launch.ts')],
    {
      encoding: 'utf8',
    },
  ).split('\n');
  assert.ok(loaded.some((url) => url.endsWith('/runtime/config/load.ts')));
  assert.deepEqual(
    loaded.filter((url) =>
      /\/(?:trust|entitlements|cni-plugins|cli)\/|\/runtime\/(?:cgroups|containers|cri|database|host-paths|images|oci|pods|policy|processes|services|streaming)\/|grpc|undici/.test(
        url,
      ),
    ),
    [],
  );
});
