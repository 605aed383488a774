import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readConfig } from '../../networks/addresses.ts';
import type { Problems } from '../../spec/fields.ts';
import type { CniDns } from '../../spec/result.ts';
import { readDns } from './settings.ts';

const read = (config: object): { dns: CniDns | undefined; problems: Problems } => {
  const problems: Problems = [];
  const fields = readConfig(JSON.stringify(config), problems);
  return { dns: fields === undefined ? undefined : readDns(fields), problems };
};

test('the capability dns has precedence over the configuration if it is set', () => {
  const dns = { nameservers: ['10.0.0.1'], domain: 'own' };
  const runtime = { servers: ['10.0.0.53', 'fd00::53'], searches: ['pods.test'], options: ['ndots:5'] };
  const reported = { nameservers: runtime.servers, search: runtime.searches, options: runtime.options };
  assert.deepEqual(read({ dns, runtimeConfig: { dns: runtime } }), { dns: reported, problems: [] });
  assert.deepEqual(read({ runtimeConfig: { dns: { searches: ['a'] } } }).dns, { search: ['a'] });
  for (const empty of [{}, { servers: [], searches: null }])
    assert.deepEqual(read({ dns, runtimeConfig: { dns: empty } }).dns, dns);
  assert.equal(read({}).dns, undefined);
  assert.match(
    read({ runtimeConfig: { dns: { servers: ['x'] } } }).problems.join(),
    /"x" is not an IP address/u,
  );
});
